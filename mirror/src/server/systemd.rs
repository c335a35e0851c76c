//! The service manager: sockets that it hands over, and what it is told. Outside of one, all of this does nothing.

use std::net::TcpListener;

use sd_notify::NotifyState;

/// The sockets of a `.socket` unit (`LISTEN_FDS`), so that a restart refuses no connection. What is no TCP listener is left out and logged.
pub fn inherited() -> Vec<TcpListener> {
    let mut handed = listenfd::ListenFd::from_env();
    (0..handed.len())
        .filter_map(|at| match handed.take_tcp_listener(at) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "inherited descriptor {} is no listening TCP socket and is not used", at + 3);
                None
            }
        })
        .collect()
}

/// `READY=1`: requests are served (again, after [`reloading`]).
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// `RELOADING=1` with the time that `Type=notify-reload` asks for.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// `STOPPING=1`: the drain began.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// `STATUS=…`: one line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
