//! The byte order of offload headers: the kernel's own towards the kernel, the network's in a parcel.

use frames::data::OffloadHeader;

/// Turns the offload header of a parcel from network byte order into the kernel's, or back: the two are one
/// operation. False if the bytes are too short for an offload header and an Ethernet header.
///
/// The kernel's order is this machine's (`virtio_net_hdr` as a legacy device has it, without `TUNSETVNETLE`).
pub(crate) fn swap_order(parcel: &mut [u8]) -> bool {
    if parcel.len() < size_of::<OffloadHeader>() + ETHERNET_HEADER {
        return false;
    }
    for field in parcel[FIELDS].chunks_exact_mut(2) {
        let value = u16::from_ne_bytes([field[0], field[1]]);
        field.copy_from_slice(&value.to_be_bytes());
    }
    true
}

/// Header length, gso size, checksum start and offset: four numbers of two bytes behind flags and gso type.
const FIELDS: core::ops::Range<usize> = 2..size_of::<OffloadHeader>();
const ETHERNET_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromBytes;

    #[test]
    fn fields_are_in_network_order_behind_one_swap_and_back_behind_two() {
        let mut parcel = [0; 24];
        for (at, value) in [(2, 66_u16), (4, 1448), (6, 34), (8, 16)] {
            parcel[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        parcel[..2].copy_from_slice(&[1, 4]);
        let native = parcel;
        assert!(swap_order(&mut parcel));
        let (header, _) = OffloadHeader::ref_from_prefix(&parcel).unwrap();
        assert_eq!((header.flags, header.gso_type), (1, 4));
        assert_eq!((header.header_length.get(), header.gso_size.get()), (66, 1448));
        assert_eq!((header.checksum_start.get(), header.checksum_offset.get()), (34, 16));
        assert!(swap_order(&mut parcel));
        assert_eq!(parcel, native);
    }

    #[test]
    fn short_parcels_are_left_alone() {
        assert!(!swap_order(&mut [0; 23]));
        assert!(!swap_order(&mut []));
    }
}
