//! What must hold for any bytes whatever: nothing panics, and what was understood survives being emitted and parsed
//! again. Shared by the tests and the fuzz targets.
#![allow(dead_code, reason = "every test binary uses its own part")]

use core::net::IpAddr;
use frames::ParseError;
use frames::body::Body;
use frames::data::OffloadHeader;
use frames::header::{Flags, Frame, HEADERS_LEN, Kind};
use frames::inet::{
    End, Ip, Layer3, Segments, Transport, addresses, classify, offloads_inner, translate, without_padding,
};
use frames::message::{MESSAGE_MAX, Message, MessageHeader, RawMessage};

/// Any bytes as an Ethernet frame of the protocol.
pub(crate) fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    let used = HEADERS_LEN + frame.body.len() + frame.tag.len();
    assert!(used <= bytes.len());
    if frame.header.kind == Kind::PACKET {
        assert_eq!(used, bytes.len());
    } else {
        assert_eq!(frame.body.len(), usize::from(frame.header.length.get()));
    }
    let _ = frame.to_string();
    if !frame.header.flags().contains(Flags::ENCRYPTED) {
        body(frame.header.kind, frame.body);
    }
    let has_length = frame.header.kind == Kind::PACKET && frame.header.length.get() != 0;
    let parsed = Body::parse(frame.header.kind, frame.body);
    assert_eq!(Body::of(&frame).ok(), parsed.ok().filter(|_| !has_length));
}

/// Any bytes as a body of `kind`.
pub(crate) fn body(kind: Kind, bytes: &[u8]) {
    let Ok(body) = Body::parse(kind, bytes) else { return };
    let _ = body.to_string();
    let mut buffer = vec![0; bytes.len() + 4];
    let length = body.emit(&mut buffer).expect("what was parsed is not longer when emitted");
    assert_eq!(Body::parse(kind, &buffer[..length]), Ok(body), "re-parsed");
    if let Body::Segment(segment) = body {
        messages(segment.bytes);
    }
    if let Body::Packet(inner) = body {
        assert_eq!(without_padding(inner.frame), Ok(inner.frame));
        packet(inner.frame);
    }
    if let Body::Data(parcels) = body {
        parcels.iter().for_each(|data| packet(data.parcel.get(10..).unwrap_or_default()));
    }
}

/// Any bytes as a stretch of a stream that begins with a message.
pub(crate) fn messages(mut bytes: &[u8]) {
    while let Ok(Some((raw, rest))) = RawMessage::split(bytes) {
        assert_eq!(MessageHeader::LEN + raw.body.len() + rest.len(), bytes.len());
        message(&raw);
        bytes = rest;
    }
}

/// Any bytes as a message.
pub(crate) fn message(raw: &RawMessage<'_>) {
    let _ = raw.to_string();
    let parsed = match Message::parse(raw) {
        Ok(parsed) => parsed,
        Err(ParseError::MessageType(kind)) => {
            assert_eq!(raw.kind.name(), None, "{kind} is known");
            return;
        }
        Err(_) => return,
    };
    assert_eq!(parsed.kind(), raw.kind);
    let _ = parsed.to_string();
    let mut buffer = vec![0; MESSAGE_MAX];
    let length = parsed.emit(&mut buffer).expect("every parsed message fits");
    let (again, rest) = RawMessage::split(&buffer[..length]).expect("emitted").expect("whole");
    assert!(rest.is_empty());
    assert_eq!(Message::parse(&again), Ok(parsed), "re-parsed");
}

/// Any bytes as an Ethernet frame of the outside world.
pub(crate) fn packet(bytes: &[u8]) {
    super_packets(bytes);
    let Ok(view) = classify(bytes) else { return };
    let _ = view.to_string();
    assert!(view.ethertype >= 0x600 || view.ethertype == 0x0004);
    if let Layer3::Ip(ip) = view.layer3 {
        assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4());
        let later = ip.fragment.is_some_and(|fragment| fragment.offset != 0);
        assert_eq!(later, ip.transport == Transport::LaterFragment);
        assert_eq!(ip.fragment.is_some(), ip.fragment_key().is_some());
        if let Transport::IcmpError(inner) = ip.transport {
            assert_eq!(inner.source.is_ipv4(), ip.source.is_ipv4());
        }
        translated(bytes, &ip);
    }
    if let Ok(unpadded) = without_padding(bytes) {
        assert_eq!(classify(unpadded), Ok(view), "without padding");
    }
    // Padding must not change anything, unless a length of zero says "to the frame's end".
    let mut padded = bytes.to_vec();
    padded.extend([0; 46]);
    if view.layer3 != Layer3::Other && !ends_with_the_frame(bytes) {
        assert_eq!(classify(&padded), Ok(view), "padded");
    }
}

/// Bytes as super-packets whose last two say how they are to be cut and where the checksum begins.
fn super_packets(bytes: &[u8]) {
    let [.., size, start] = *bytes else { return };
    for (gso_type, offset) in [(1, 16), (4, 16), (5, 6)] {
        let offload = [1, gso_type, 0, 0, 0, size, 0, start, 0, offset];
        let parcel = [&offload, bytes].concat();
        let _ = offloads_inner(&parcel);
        let Ok(mut segments) = Segments::new(&parcel) else { continue };
        let mut buffer = vec![0; bytes.len()];
        while let Some(length) = segments.write_next(&mut buffer) {
            assert!(length + 14 <= bytes.len(), "no longer than what it is cut from");
        }
    }
}

/// A packet that can be translated has the other address afterwards, and can be translated back.
fn translated(bytes: &[u8], ip: &Ip) {
    let mut parcel = [&[0; size_of::<OffloadHeader>()][..], bytes].concat();
    assert_eq!(addresses(&parcel), Some((ip.source, ip.destination)));
    for (end, from) in [(End::Source, ip.source), (End::Destination, ip.destination)] {
        let to = match from {
            IpAddr::V4(_) => IpAddr::from([10, 99, 0, 2]),
            IpAddr::V6(_) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 2]),
        };
        let before = parcel.clone();
        if translate(&mut parcel, end, from, to).is_err() {
            assert_eq!(parcel, before, "left as it was");
            continue;
        }
        let (source, destination) = addresses(&parcel).expect("still a packet");
        assert_eq!(if end == End::Source { source } else { destination }, to);
        translate(&mut parcel, end, to, from).expect("and back");
    }
    assert_eq!(addresses(&parcel), Some((ip.source, ip.destination)));
    if let Ok(mut segments) = Segments::new(&parcel) {
        assert_eq!(segments.destination(), Some(ip.destination));
        let mut buffer = vec![0; bytes.len()];
        assert!(segments.write_next(&mut buffer).is_some_and(|length| length + 14 <= bytes.len()));
        assert!(segments.write_next(&mut buffer).is_none());
    }
}

/// Whether the packet's length field is zero.
fn ends_with_the_frame(bytes: &[u8]) -> bool {
    match bytes.get(12..14) {
        Some([0x08, 0x00]) => bytes.get(16..18) == Some(&[0, 0]),
        Some([0x86, 0xdd]) => bytes.get(18..20) == Some(&[0, 0]),
        _ => false,
    }
}
