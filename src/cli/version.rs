//! `tikv-security version`.

use std::process::ExitCode;

use clap::Args;

use crate::crypto::Backend;

/// Show the version, and with --cpu which code this CPU gets
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Show which back ends for AES and SM4 this CPU has, and which one is chosen
    #[arg(long)]
    cpu: bool,
}

/// Runs `version`.
pub fn main(args: &VersionArgs) -> ExitCode {
    println!("tikv-security {}", env!("CARGO_PKG_VERSION"));
    if args.cpu {
        print!("{}", backends());
    }
    ExitCode::SUCCESS
}

fn backends() -> String {
    let chosen = Backend::chosen();
    let mut text = format!("{:<12} {:<10} {:<20} SM4\n", "BACK END", "STATE", "AES");
    for backend in Backend::ALL {
        let state = match backend {
            backend if backend == chosen => "chosen",
            backend if backend.available() => "available",
            _ => "missing",
        };
        let (aes, sm4) = backend.describe();
        text += &format!("{:<12} {state:<10} {aes:<20} {sm4}\n", backend.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_back_end_is_chosen_and_all_are_told() {
        let text = backends();
        assert_eq!(text.matches(" chosen ").count(), 1, "{text}");
        for backend in Backend::ALL {
            assert!(text.contains(backend.name()), "{text}");
        }
    }
}
