//! The HTTP clients of organizations: a common one, and one of its own for each organization that may reach more.
//!
//! An organization's own client has its own connections, so that no other organization uses one that it may not open.

use std::collections::{HashMap, HashSet};

use bowline_types::TenantId;

use super::addresses::AllowList;
use super::client::GuardedClient;
use crate::OrganizationAllow;

/// Organizations with a client of their own at most: each has its own connections.
const ORGANIZATIONS_MAX: usize = 100;

/// The clients; the settings decide at the start of the process which addresses each one reaches.
#[derive(Debug)]
pub(crate) struct Clients {
    common: GuardedClient,
    own: HashMap<TenantId, GuardedClient>,
}

impl Clients {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// The first entry that can't be read, or that there is no client, for people.
    pub(crate) fn new(all: &[String], by_organization: &[OrganizationAllow]) -> Result<Self, String> {
        let common = GuardedClient::new(common(all)?)?;
        let mut own = HashMap::new();
        for (tenant_id, allowed) in entries(all, by_organization)? {
            own.insert(tenant_id, common.reaching(allowed)?);
        }
        Ok(Self { common, own })
    }

    /// Whether the entries can be read.
    ///
    /// # Errors
    /// The setting's name, and what is wrong with it.
    pub(crate) fn check(all: &[String], by_organization: &[OrganizationAllow]) -> Result<(), String> {
        common(all)?;
        entries(all, by_organization).map(drop)
    }

    /// An organization's client.
    pub(crate) fn of(&self, tenant_id: TenantId) -> &GuardedClient {
        self.own.get(&tenant_id).unwrap_or(&self.common)
    }
}

fn common(all: &[String]) -> Result<AllowList, String> {
    AllowList::parse(all).map_err(|problem| format!("allow: {problem}"))
}

/// The addresses of each organization with an entry: those that all may reach, and its own.
fn entries(
    all: &[String],
    by_organization: &[OrganizationAllow],
) -> Result<Vec<(TenantId, AllowList)>, String> {
    if by_organization.len() > ORGANIZATIONS_MAX {
        let count = by_organization.len();
        return Err(format!(
            "allow_by_organization has {count} organizations: take {ORGANIZATIONS_MAX} at most"
        ));
    }
    let mut named = HashSet::new();
    let mut read = |(index, own): (usize, &OrganizationAllow)| {
        let problem = |problem: String| format!("allow_by_organization[{index}]: {problem}");
        if !named.insert(own.organization) {
            return Err(problem(format!("{} is there twice", own.organization)));
        }
        let mut entries = own.allow.clone();
        // Parsed alone first, so that an error names this setting and not the common one.
        AllowList::parse(&entries).map_err(problem)?;
        entries.extend_from_slice(all);
        Ok((own.organization, AllowList::parse(&entries)?))
    };
    by_organization.iter().enumerate().map(&mut read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(organization: TenantId, entry: &str) -> OrganizationAllow {
        OrganizationAllow { organization, allow: vec![entry.to_owned()] }
    }

    #[test]
    fn an_organization_reaches_what_is_its_own_and_no_other_does() {
        let (ours, theirs) = (TenantId::random(), TenantId::random());
        let by_organization = [own(ours, "127.0.0.1"), own(theirs, "hooks.internal:80")];
        let clients = Clients::new(&["10.0.0.1".to_owned()], &by_organization).unwrap();
        let reaches = |tenant, url: &str| clients.of(tenant).client(&url.parse().unwrap()).is_ok();
        assert!(reaches(ours, "http://127.0.0.1/") && reaches(ours, "http://10.0.0.1/"));
        assert!(!reaches(theirs, "http://127.0.0.1/") && reaches(theirs, "http://10.0.0.1/"));
        let stranger = TenantId::random();
        assert!(!reaches(stranger, "http://127.0.0.1/") && reaches(stranger, "http://10.0.0.1/"));
        assert!(Clients::check(&[], &[own(ours, "::1"), own(ours, "::1")]).unwrap_err().contains("twice"));
        let many: Vec<_> = (0..=ORGANIZATIONS_MAX).map(|_| own(TenantId::random(), "::1")).collect();
        assert!(Clients::check(&[], &many).unwrap_err().contains("100 at most"));
    }
}
