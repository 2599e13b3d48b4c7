//! `l2chaos`: what `tools/chaos` runs once everything is built. It goes through the faults, prints one table, and says which of
//! them were not survived.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command-line tool")]

use netns_tests::chaos::{Chaos, Fault, Figures, faults, table};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (seed, only, long) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<Fault> = faults()
        .into_iter()
        .filter(|fault| only.as_ref().is_none_or(|only| fault.name.contains(only.as_str())))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = faults().iter().map(|fault| fault.name).collect();
        eprintln!("error: no fault is called so; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    println!("seed {seed}");
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    let mut chaos = None;
    for fault in &chosen {
        println!("{} ...", fault.name);
        match catch_unwind(AssertUnwindSafe(|| suffer(chaos.take(), fault, seed, long))) {
            Ok(Some((whole, row))) => {
                figures.push(row);
                chaos = Some(whole);
            }
            Ok(None) => return ExitCode::FAILURE,
            // Another lab for the next one; this one has told what was wrong.
            Err(_) => failed.push(fault.name),
        }
    }
    if let Some(chaos) = chaos
        && catch_unwind(AssertUnwindSafe(|| chaos.down())).is_err()
    {
        failed.push("the end");
    }
    println!("\n{}", table(&figures));
    if failed.is_empty() {
        println!("{} faults survived", figures.len());
        return ExitCode::SUCCESS;
    }
    println!("{} faults survived; NOT survived, with seed {seed}: {}", figures.len(), failed.join(", "));
    ExitCode::FAILURE
}

fn suffer(chaos: Option<Chaos>, fault: &Fault, seed: u64, long: bool) -> Option<(Chaos, Figures)> {
    let mut chaos = match chaos {
        Some(chaos) => chaos,
        None => Chaos::up(seed)?,
    };
    let figures = chaos.suffer(fault, long);
    Some((chaos, figures))
}

fn arguments() -> Result<(u64, Option<String>, bool), String> {
    let (mut seed, mut only, mut long) = (1, None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--seed" => {
                let text = value()?;
                seed = text.parse().map_err(|_| format!("--seed needs a number, not {text:?}"))?;
            }
            "--only" => only = Some(value()?),
            "--long" => long = true,
            _ => {
                return Err(format!(
                    "unknown argument {word:?}: there are --seed N, --only FAULT and --long"
                ));
            }
        }
    }
    Ok((seed, only, long))
}
