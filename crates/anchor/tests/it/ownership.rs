//! Who may do what on the contract.

use alloy_primitives::Address;
use bowline_anchor::abi::BowlineAnchor::{
    BowlineAnchorErrors, CommitterSet, NotCommitter, NotOwner, OwnershipOffered, OwnershipTransferred,
    acceptOwnershipCall, isCommitterCall, offeredToCall, ownerCall, setCommitterCall, transferOwnershipCall,
};

use crate::support::{Chain, Line, batch, commit, correct};

fn not_owner(sender: Address) -> BowlineAnchorErrors {
    BowlineAnchorErrors::NotOwner(NotOwner { sender })
}

#[tokio::test]
async fn only_committers_commit() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(1);
    let (first, second) = (line.commit(1), line.commit(1));
    for sender in [chain.stranger, chain.owner] {
        let expected = BowlineAnchorErrors::NotCommitter(NotCommitter { sender });
        assert_eq!(chain.refused(sender, &commit(&first)).await, expected);
        assert_eq!(chain.refused(sender, &correct(&first)).await, expected);
        assert_eq!(chain.refused(sender, &batch([&first])).await, expected);
        assert_eq!(chain.refused(sender, &batch([])).await, expected);
    }
    let allow = |allowed| setCommitterCall { committer: chain.stranger, allowed };
    let mined = chain.send(chain.owner, &allow(true)).await;
    assert_eq!(mined.events::<CommitterSet>(), [CommitterSet { committer: chain.stranger, allowed: true }]);
    assert!(chain.ask(&isCommitterCall { account: chain.stranger }).await);
    chain.send(chain.stranger, &commit(&first)).await;
    chain.send(chain.owner, &allow(false)).await;
    let refused = chain.refused(chain.stranger, &commit(&second)).await;
    assert!(matches!(refused, BowlineAnchorErrors::NotCommitter(_)), "{refused:?}");
    chain.send(chain.committer, &commit(&second)).await;
    let refused = chain.refused(chain.committer, &allow(true)).await;
    assert_eq!(refused, not_owner(chain.committer));
}

#[tokio::test]
async fn the_contract_is_offered_and_taken() {
    let chain = Chain::bowline().await;
    let (owner, heir, stranger) = (chain.owner, chain.committer, chain.stranger);
    let offer = |to| transferOwnershipCall { to };
    assert_eq!(chain.refused(stranger, &offer(stranger)).await, not_owner(stranger));
    assert_eq!(chain.refused(heir, &acceptOwnershipCall {}).await, not_owner(heir));

    let mined = chain.send(owner, &offer(stranger)).await;
    assert_eq!(mined.events::<OwnershipOffered>(), [OwnershipOffered { from: owner, to: stranger }]);
    // Until it is taken nothing has changed, and the last offer counts; zero is none.
    assert_eq!(chain.ask(&ownerCall {}).await, owner);
    chain.send(owner, &offer(Address::ZERO)).await;
    assert_eq!(chain.refused(stranger, &acceptOwnershipCall {}).await, not_owner(stranger));
    chain.send(owner, &offer(heir)).await;
    assert_eq!(chain.ask(&offeredToCall {}).await, heir);
    assert_eq!(chain.refused(stranger, &acceptOwnershipCall {}).await, not_owner(stranger));

    let mined = chain.send(heir, &acceptOwnershipCall {}).await;
    assert_eq!(mined.events::<OwnershipTransferred>(), [OwnershipTransferred { from: owner, to: heir }]);
    assert_eq!(chain.ask(&ownerCall {}).await, heir);
    assert_eq!(chain.ask(&offeredToCall {}).await, Address::ZERO);
    assert_eq!(chain.refused(heir, &acceptOwnershipCall {}).await, not_owner(heir));
    let allow = setCommitterCall { committer: stranger, allowed: true };
    assert_eq!(chain.refused(owner, &allow).await, not_owner(owner));
    chain.send(heir, &allow).await;
}

#[tokio::test]
async fn a_deployment_says_who_owns_it_and_who_commits() {
    let chain = Chain::bowline().await;
    let (owner, committer) = (chain.owner, chain.committer);
    let transferred = OwnershipTransferred { from: Address::ZERO, to: owner };
    assert_eq!(chain.deployment.events::<OwnershipTransferred>(), [transferred]);
    assert_eq!(chain.deployment.events::<CommitterSet>(), [CommitterSet { committer, allowed: true }]);
    assert_eq!(chain.ask(&ownerCall {}).await, owner);
    assert!(chain.ask(&isCommitterCall { account: committer }).await);
    assert!(!chain.ask(&isCommitterCall { account: owner }).await);
}
