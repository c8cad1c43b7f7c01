//! `bowline config check|dump|env`: what a node would run with, without running it.

use bowline_node::{ENVIRONMENT, UNSERVED};
use clap::Subcommand;
use serde_json::json;

use crate::operate::serve::SettingsArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// The setting that chains' well-known variables stand for.
const CHAINS: &str = "indexer.chains";

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Say whether the settings can be used; every problem on a line
    Check(SettingsArgs),
    /// Print the settings in force, defaults included and secrets masked, as JSON
    Dump(SettingsArgs),
    /// List the environment variables that are read, with the settings that they set
    Env,
}

pub(crate) fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Check(settings) => {
            let problems = settings.load(context)?.problems();
            if context.is_json() {
                output::line(&json!({ "usable": problems.is_empty(), "problems": problems }).to_string())?;
            } else if problems.is_empty() {
                output::line("the settings can be used")?;
            }
            if problems.is_empty() {
                return Ok(Exit::Done);
            }
            Err(Failure::usage(problems.join("; ")).next("mend the settings named here"))
        }
        What::Dump(settings) => {
            let config = settings.load(context)?;
            let text =
                serde_json::to_string_pretty(&config).map_err(|error| Failure::usage(error.to_string()))?;
            output::line(&text)?;
            Ok(Exit::Done)
        }
        What::Env if context.is_json() => {
            let served = ENVIRONMENT.iter().map(|v| json!({ "name": v.name, "setting": v.path }));
            let chains = bowline_indexer::Config::environment_names().into_iter();
            let served = served.chain(chains.map(|name| json!({ "name": name, "setting": CHAINS })));
            let listed = json!({ "served": served.collect::<Vec<_>>(), "not_served": UNSERVED });
            output::line(&listed.to_string())?;
            Ok(Exit::Done)
        }
        What::Env => {
            let served = ENVIRONMENT.iter().map(|v| [v.name.to_owned(), v.path.to_owned()]);
            let unserved =
                UNSERVED.iter().map(|name| [(*name).to_owned(), "(not served by this version)".to_owned()]);
            let chains = bowline_indexer::Config::environment_names().into_iter();
            let served = served.chain(chains.map(|name| [name, CHAINS.to_owned()]));
            output::table(["variable", "setting"], served.chain(unserved))?;
            Ok(Exit::Done)
        }
    }
}
