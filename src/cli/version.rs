//! `tikv-security version`.

use std::process::ExitCode;

use clap::Args;

use crate::crypto::{Backend, features};

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
    let with = |wanted| -> Vec<&str> {
        let all = features().iter();
        all.filter(|(_, has)| *has == wanted)
            .map(|(name, _)| *name)
            .collect()
    };
    let mut text = format!("cpu has    {}\n", list(&with(true)));
    text += &format!("cpu lacks  {}\n\n", list(&with(false)));
    text += &format!(
        "{:<12} {:<10} {:<20} {:<34} LACKS\n",
        "BACK END", "STATE", "AES", "SM4"
    );
    for backend in Backend::ALL {
        let state = match backend {
            backend if backend == chosen => "chosen",
            backend if backend.available() => "available",
            _ => "missing",
        };
        let (aes, sm4) = backend.describe();
        let lacks: Vec<&str> = backend.missing().collect();
        text += &format!(
            "{:<12} {state:<10} {aes:<20} {sm4:<34} {}\n",
            backend.name(),
            list(&lacks)
        );
    }
    text
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(" ")
    }
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
            for lacking in backend.missing() {
                let row = text.lines().find(|row| row.starts_with(backend.name()));
                assert!(row.unwrap().contains(lacking), "{text}");
            }
        }
    }
}
