//! `bowline completions SHELL`: the completion script of a shell, on stdout.
//!
//! It is made from the same tree that parses the command line, so it cannot lag behind it.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  bowline completions bash > ~/.local/share/bash-completion/completions/bowline"
)]
pub(crate) struct Options {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    let mut script = Vec::new();
    generate(options.shell, &mut crate::tree(), "bowline", &mut script);
    output::raw(&script)?;
    Ok(Exit::Done)
}
