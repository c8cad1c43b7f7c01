//! `bowline triggers create`, `update`, `delete`, `enable` and `disable`.

use bowline_client::Call;
use clap::Args;
use serde_json::json;

use super::{FileArgs, One, OrganizationArgs, PATH, call_for_one, read_json, show};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline triggers create`.
#[derive(Debug, Args)]
#[command(after_help = "\
The file is JSON:
  {\"name\": \"low scores\", \"chain_id\": 84532, \"registry\": \"reputation\",
   \"conditions\": [{\"condition_type\": \"score_threshold\", \"field\": \"score\", \"operator\": \"<\", \"value\": 50}],
   \"actions\": [{\"action_type\": \"rest\", \"config\": {\"url\": \"https://example.org/hook\"}}]}
`bowline triggers dry-run -f FILE --event ID` tries it out before it is there.")]
pub(crate) struct CreateOptions {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    organization: OrganizationArgs,
}

/// `bowline triggers update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateOptions {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    file: FileArgs,
    /// Only if it has that revision still
    #[arg(long, value_name = "NUMBER")]
    if_revision: Option<u64>,
}

pub(super) async fn create(context: &Context, options: CreateOptions) -> Outcome {
    let call = Call::post(&PATH, &read_json(&options.file.file)?)?.shown_as_file(&options.file.file);
    let Some(text) = call_for_one(context, options.organization, call).await? else { return Ok(Exit::Done) };
    show::print(context, &text)?;
    output::talk(
        "next: `bowline triggers test ID` carries its actions out once; `bowline deliveries list` shows what it set off",
    );
    Ok(Exit::Done)
}

pub(super) async fn update(context: &Context, options: UpdateOptions) -> Outcome {
    let id = options.one.id.to_string();
    let mut call = Call::put(&One::path(&id, &[]), &read_json(&options.file.file)?)?;
    call = call.shown_as_file(&options.file.file);
    if let Some(revision) = options.if_revision {
        call = call.header("if-match", revision);
    }
    let call = options.one.organization.on(call);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    show::print(context, &text)?;
    Ok(Exit::Done)
}

pub(super) async fn delete(context: &Context, one: One) -> Outcome {
    let id = one.id.to_string();
    let call = one.organization.on(Call::delete(&One::path(&id, &[])));
    if context.call(&call).await?.is_none() {
        return Ok(Exit::Done);
    }
    match context.is_json() {
        true => output::line(&json!({ "deleted": id }).to_string())?,
        false => output::line(&format!("trigger {id} is deleted"))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn switch(context: &Context, one: One, enabled: bool) -> Outcome {
    let id = one.id.to_string();
    let call = Call::put(&One::path(&id, &[]), &json!({ "enabled": enabled }))?;
    let Some(text) = context.call(&one.organization.on(call)).await? else { return Ok(Exit::Done) };
    match context.is_json() {
        true => output::line(&text)?,
        false if enabled => output::line(&format!("trigger {id} is matched from now on"))?,
        false => output::line(&format!("trigger {id} is not matched any more; what is queued is delivered"))?,
    }
    Ok(Exit::Done)
}
