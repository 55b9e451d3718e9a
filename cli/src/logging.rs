//! The log on stderr; stdout belongs to what scripts read.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// `UNDERSTUDY_LOG` wins over `RUST_LOG`; without either, level info.
pub fn start() {
    let wanted = std::env::var("UNDERSTUDY_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::try_new(wanted.as_deref().unwrap_or("info")).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().compact().with_env_filter(filter).with_ansi(colours(&std::io::stderr())).with_writer(std::io::stderr).init();
}

/// Whether colours are welcome on `stream`.
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
