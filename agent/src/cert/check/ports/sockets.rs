//! Who listens at an address, by what `/proc` tells: the sockets of this network namespace, and the processes that have them open.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Who has a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Holder {
    /// This program, as another process perhaps.
    Ours(u32),
    /// `nginx (process 7)`
    Other(String),
    /// systemd, for a service that it starts with the socket.
    ServiceManager,
    /// Somebody whose descriptors are not shown to us.
    Unknown,
}

/// All who listen where `address` would; none where `/proc` is not there.
pub(crate) fn holders(address: SocketAddr) -> Vec<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|file| fs::read_to_string(file).ok());
    let inodes: Vec<u64> = tables.flat_map(|table| listening(&table, address)).collect();
    if inodes.is_empty() {
        return Vec::new();
    }
    let found: Vec<Holder> = processes().filter(|pid| has_one(*pid, &inodes)).map(holder).collect();
    if found.is_empty() { vec![Holder::Unknown] } else { found }
}

/// Pure: the inodes of the sockets in a table that listen where `address` would.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [local, _, state] = fields.get(1..4)? else { return None };
        let (ip, port) = local.split_once(':')?;
        let overlaps = u16::from_str_radix(port, 16).ok()? == address.port() && meets(parse(ip)?, address.ip());
        (*state == LISTEN && overlaps).then(|| fields.get(9)?.parse().ok())?
    };
    table.lines().filter_map(of_line).collect()
}

/// Whether two listeners with one port are in each other's way.
fn meets(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// As the kernel prints it: words of 32 bits, each in the machine's own order.
fn parse(hex: &str) -> Option<IpAddr> {
    let words = hex.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical()),
        _ => None,
    }
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn has_one(pid: u32, inodes: &[u64]) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok();
    open.filter_map(|entry| inode(fs::read_link(entry.path()).ok()?)).any(|one| inodes.contains(&one))
}

fn holder(pid: u32) -> Holder {
    let of = |what: &str| fs::read_link(format!("/proc/{what}/exe")).ok();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    let program = of(&pid.to_string());
    let is_same = program.is_some() && program == of("self");
    let is_called_so = program.as_deref().and_then(Path::file_name).is_some_and(|file| file == "chandler");
    match name.as_str() {
        _ if is_same || is_called_so => Holder::Ours(pid),
        "systemd" => Holder::ServiceManager,
        _ => Holder::Other(format!("{name} (process {pid})")),
    }
}

/// `TCP_LISTEN`
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(ip: &str, port: u16, state: &str, inode: u64) -> String {
        format!(
            "   0: {ip}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100 0 0 10 0\n"
        )
    }

    #[test]
    fn a_listener_in_the_way_is_found_whatever_its_address_is_written_as() {
        let v4 = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let table = [
            line(&v4([127, 0, 0, 1]), 80, "0A", 1),
            line(&v4([0, 0, 0, 0]), 443, "0A", 2),
            line(&v4([10, 0, 0, 7]), 80, "01", 3), // A connection.
            line(&"0".repeat(32), 8080, "0A", 4),
        ]
        .concat();
        let at = |text: &str| listening(&table, text.parse().expect("an address"));
        assert_eq!(at("127.0.0.1:80"), [1]);
        assert_eq!(at("[::]:80"), [1]);
        assert_eq!(at("10.0.0.7:80"), Vec::<u64>::new());
        assert_eq!(at("10.0.0.7:443"), [2]);
        assert_eq!(at("10.0.0.7:8080"), [4]);
        assert_eq!(parse(&v4([10, 0, 0, 7])), Some([10, 0, 0, 7].into()));
    }

    #[test]
    fn our_own_socket_is_ours() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        assert_eq!(holders(address), [Holder::Ours(std::process::id())]);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(table in "[0-9A-F: \n]{0,200}|\\PC{0,80}") {
            let _ = listening(&table, ([127, 0, 0, 1], 80).into());
            let _ = parse(&table);
        }
    }
}
