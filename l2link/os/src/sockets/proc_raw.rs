//! `/proc/net/raw` and `/proc/net/raw6`: raw sockets where the kernel has no `INET_RAW_DIAG`.
//!
//! The files do not tell the interface to which a socket is bound.

use super::{Socket, SocketKind, SocketState};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use frames::protocol_address::{Family, Local};

/// Adds the sockets of a file's text. A line is
/// `slot: LOCAL:PROTOCOL REMOTE:0000 STATE QUEUES TIMER RETRANSMITS UID TIMEOUT INODE …`; lines of another form, the
/// heading among them, are left out.
pub(super) fn parse(text: &str, sockets: &mut Vec<Socket>) {
    sockets.extend(text.lines().filter_map(line));
}

fn line(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    fields.next()?.strip_suffix(':')?;
    let (address, protocol) = endpoint(fields.next()?)?;
    let (remote, _) = endpoint(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let local = match address {
        IpAddr::V4(_) if address.is_unspecified() => Local::Any(Family::V4),
        IpAddr::V6(_) if address.is_unspecified() => Local::Any(Family::V6),
        _ => Local::Address(address),
    };
    Some(Socket {
        kind: SocketKind::Raw { protocol: u8::try_from(protocol).ok()? },
        local,
        local_port: 0,
        remote: (!remote.is_unspecified()).then(|| SocketAddr::new(remote, 0)),
        interface: None,
        state: SocketState(state),
        inode,
        uid,
        queue: (0, 0),
    })
}

/// `ADDRESS:NUMBER` in hexadecimal, the address as words of 32 bits in the machine's byte order.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, number) = text.split_once(':')?;
    let number = u16::from_str_radix(number, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(8 * index..8 * index + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some((address, number))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// In the form of `raw_sock_seq_show` and `ip6_dgram_sock_seq_show` of the kernel.
    const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   89: 00000000:0059 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7391 2 0000000000000000 0
  112: 0100007F:0070 0200007F:0000 01 00000000:00000000 00:00000000 00000000   101        0 7392 2 0000000000000000 0
";
    const RAW6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   89: 00000000000000000000000000000000:0059 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7393 2 0000000000000000 0
   58: B80D0120000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7394 2 0000000000000000 0
";

    #[test]
    fn both_files_are_read() {
        let mut sockets = Vec::new();
        parse(RAW, &mut sockets);
        parse(RAW6, &mut sockets);
        let shown: Vec<_> = sockets.iter().map(|socket| (socket.kind, socket.local, socket.inode)).collect();
        let raw = |protocol| SocketKind::Raw { protocol };
        let expected = [
            (raw(89), Local::Any(Family::V4), 7391),
            (raw(112), Local::Address("127.0.0.1".parse().unwrap()), 7392),
            (raw(89), Local::Any(Family::V6), 7393),
            (raw(58), Local::Address("2001:db8::1".parse().unwrap()), 7394),
        ];
        assert_eq!(shown, expected);
        assert_eq!(sockets[1].remote, Some("127.0.0.2:0".parse().unwrap()));
        assert_eq!(sockets[1].uid, 101);
    }

    #[test]
    fn lines_cut_short_are_left_out() {
        for length in 0..RAW.len() {
            parse(&RAW[..length], &mut Vec::new());
        }
        let mut sockets = Vec::new();
        parse("1: zz:00 1: 2\n\n:\n 1: 00000000:0159 00000000:0000 07 0 0 0 0 0 0", &mut sockets);
        assert_eq!(sockets, []);
    }
}
