//! The `godwit` command.

use std::io::{ErrorKind, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use godwit::cli::{Cli, Command, completions, serve};
use godwit::exit::Exit;
use godwit::heap::Counted;
use mimalloc::MiMalloc;

/// Each shard allocates for its devices and frees what other threads sent it: an allocator with heaps per thread.
#[global_allocator]
static ALLOCATOR: Counted<MiMalloc> = Counted(MiMalloc);

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Serve { settings } => serve(settings, &mut stderr()),
        Command::Ctl(ctl) => ctl.run(&mut stdout(), &mut stderr()),
        Command::Config { command } => command.run(&mut stdout(), &mut stderr()),
        Command::Keys { command } => command.run(&mut stdout(), &mut stderr()),
        Command::Spool { command } => command.run(&mut stdout(), &mut stderr()),
        Command::Completions { shell } => completions(shell, &mut stdout()).map(|()| Exit::Ok),
    };
    match ended {
        Ok(exit) => exit.into(),
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok.into(),
        Err(_) => Exit::Failed.into(),
    }
}
