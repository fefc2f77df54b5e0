//! `cargo xtask`: the commands that developers, CI and the quick start use. Each command is a file;
//! this one only dispatches. Nothing here is shipped.

mod assets;
mod bench;
mod ci;
mod codegen;
mod compare;
mod demo;
mod deny;
mod fuzz;
mod peers;
mod process;
mod repo;
mod schema;
mod setup;
mod sqlx;
mod steps;
mod test;
mod tidy;
mod vm;
mod web;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  demo [--camera DEV] [-- ARGS]               build a release, get what is missing, run the quick start
  setup                                       install what the demo and the tests need
  test                                        build everything, then unit, doc, web and end-to-end tests
  ci                                          test, and every check that a change has to pass
  tidy                                        crate table, fences, file sizes, leftovers, links
  codegen [--check]                           proto/src/gen from proto/edgeflow/v1/*.proto
  sqlx [--check]                              .sqlx from the queries and migrations/
  schema [--check]                            docs/system.schema.json from the types
  web [--check]                               web/dist from web/src (needs Node.js)
  deny                                        licences, bans and sources of every dependency
  fuzz                                        build the fuzz targets
  vm [COMMANDS]                               camera tests, or commands, in a small virtual machine
  bench NAME [ARGS]                           a measurement in a release build; without NAME the list

--check changes nothing and fails when the committed files differ from what would be generated.
ARGS of demo go to `edgeflow local`.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", args),
    };
    match command {
        "demo" => demo::run(rest),
        "setup" => setup::run(),
        "test" => test::run(),
        "ci" => ci::run(),
        "tidy" => tidy::run(),
        "codegen" => codegen::run(check_flag(rest)?),
        "sqlx" => sqlx::run(check_flag(rest)?),
        "schema" => schema::run(check_flag(rest)?),
        "web" => web::run(check_flag(rest)?),
        "deny" => deny::run(),
        "fuzz" => fuzz::run(),
        "bench" => bench::run(rest),
        "vm" => vm::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no command `{other}`; see `cargo xtask --help`"),
    }
}

fn check_flag(args: &[String]) -> Result<bool> {
    match args {
        [] => Ok(false),
        [flag] if flag == "--check" => Ok(true),
        [other, ..] => bail!("`{other}` is not understood here; the only flag is --check"),
    }
}
