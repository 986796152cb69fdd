//! The program `vitreous`: parses the command line, hands it to a command, turns errors into text and exit codes.

fn main() -> std::process::ExitCode {
    let mut out = std::io::stdout().lock();
    let code = vitreous::run(std::env::args_os().collect(), &vitreous::shell::Local, &mut out);
    std::process::ExitCode::from(u8::try_from(code).unwrap_or(vitreous_model::exit::INTERNAL as u8))
}
