//! `tikv-security agent-ready`: the start-up probe of the agent's container.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::agent::service::gate::Gate;

/// Arguments of `agent-ready`.
#[derive(Args, Clone, Debug)]
pub struct AgentReadyArgs {
    /// Directory of the gate, as the agent has it
    #[arg(long, default_value = "/run/tikv-security")]
    pub run: PathBuf,
}

/// 0 when TiKV may start, 1 when not.
pub fn run(args: &AgentReadyArgs) -> ExitCode {
    if Gate::is_open(&args.run) {
        return ExitCode::SUCCESS;
    }
    eprintln!("the gate is shut: see /v1/status of the agent, or its log");
    ExitCode::FAILURE
}
