//! [`Field`]: how values stand in a recording.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A value that can be written down and read again.
///
/// Those of structs and enums are made by [`recorded_struct`](crate::recorded_struct) and
/// [`recorded_enum`](crate::recorded_enum), which do not compile if a field or a variant is left out.
pub trait Field: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    ///
    /// # Errors
    /// [`Malformed`] if that is none.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Bytes that are to be read.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

/// A record is not what this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record is malformed")
    }
}

impl core::error::Error for Malformed {}

impl<'a> Reader<'a> {
    /// All of these.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next bytes.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A length in front of that many items, each of at least a byte.
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = u32::take(self)? as usize;
        if length > self.0.len() { Err(Malformed) } else { Ok(length) }
    }

    /// The one value that all bytes are.
    ///
    /// # Errors
    /// If they are none, or more.
    pub fn whole<T: Field>(mut self) -> Result<T, Malformed> {
        let value = T::take(&mut self)?;
        self.end().map(|()| value)
    }

    /// # Errors
    /// If there is more.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Bytes of a packet or frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Field for Bytes<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length()?;
        Ok(Self(Cow::Owned(reader.bytes(length)?.to_vec())))
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(
            impl Field for $type {
                fn put(&self, out: &mut Vec<u8>) {
                    out.extend_from_slice(&self.to_le_bytes());
                }

                fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                    let bytes = reader.bytes(size_of::<Self>())?;
                    Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
                }
            }
        )*
    };
}
numbers!(u8, u16, u32, u64, i32, u128);

impl Field for usize {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u64::take(reader)?.try_into().map_err(|_| Malformed)
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        Bytes::from(self.as_bytes()).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_utf8(Bytes::take(reader)?.0.into_owned()).map_err(|_| Malformed)
    }
}

impl Field for Cow<'_, str> {
    fn put(&self, out: &mut Vec<u8>) {
        Bytes::from(self.as_bytes()).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        String::take(reader).map(Cow::Owned)
    }
}

impl<T: Field + Clone> Field for Cow<'_, T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        T::take(reader).map(Cow::Owned)
    }
}

impl<T: Field + Clone> Field for Cow<'_, [T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Vec::take(reader).map(Cow::Owned)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length()?;
        (0..length).map(|_| T::take(reader)).collect()
    }
}

impl<T: Field + Ord> Field for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Vec::take(reader)?.into_iter().collect())
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|item| item.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let items: Vec<T> = (0..N).map(|_| T::take(reader)).collect::<Result<_, _>>()?;
        items.try_into().map_err(|_| Malformed)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::take(reader)? { T::take(reader).map(Some) } else { Ok(None) }
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::take(reader)?, B::take(reader)?))
    }
}

impl Field for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        (self.as_secs(), self.subsec_nanos()).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (seconds, nanos) = <(u64, u32)>::take(reader)?;
        if nanos < 1_000_000_000 { Ok(Self::new(seconds, nanos)) } else { Err(Malformed) }
    }
}

impl Field for RangeInclusive<u16> {
    fn put(&self, out: &mut Vec<u8>) {
        (*self.start(), *self.end()).put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        <(u16, u16)>::take(reader).map(|(start, end)| start..=end)
    }
}

impl Field for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => (4_u8, address.to_bits()).put(out),
            Self::V6(address) => (6_u8, address.to_bits()).put(out),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(reader)? {
            4 => u32::take(reader).map(|bits| Ipv4Addr::from_bits(bits).into()),
            6 => u128::take(reader).map(|bits| Ipv6Addr::from_bits(bits).into()),
            _ => Err(Malformed),
        }
    }
}

/// Makes a struct a [`Field`]: all its fields, in this order.
#[macro_export]
macro_rules! recorded_struct {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::recording::Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::recording::Field::put($field, out);)*
            }

            fn take(
                reader: &mut $crate::recording::Reader<'_>,
            ) -> Result<Self, $crate::recording::Malformed> {
                Ok(Self { $($field: $crate::recording::Field::take(reader)?),* })
            }
        }
    };
}

/// Makes a struct that is one value in brackets a [`Field`].
#[macro_export]
macro_rules! recorded_newtype {
    ($($type:ty),* $(,)?) => {
        $(
            impl $crate::recording::Field for $type {
                fn put(&self, out: &mut Vec<u8>) {
                    $crate::recording::Field::put(&self.0, out);
                }

                fn take(
                    reader: &mut $crate::recording::Reader<'_>,
                ) -> Result<Self, $crate::recording::Malformed> {
                    $crate::recording::Field::take(reader).map(Self)
                }
            }
        )*
    };
}

/// Makes an enum a [`Field`]: all its variants, each by its number.
#[macro_export]
macro_rules! recorded_enum {
    ($type:ty { $($number:literal => $variant:ident $({ $($field:ident),* $(,)? })? $(( $($value:ident),* ))?),* $(,)? }) => {
        impl $crate::recording::Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(
                        Self::$variant $({ $($field),* })? $(( $($value),* ))? => {
                            out.push($number);
                            $($($crate::recording::Field::put($field, out);)*)?
                            $($($crate::recording::Field::put($value, out);)*)?
                        }
                    )*
                }
            }

            fn take(
                reader: &mut $crate::recording::Reader<'_>,
            ) -> Result<Self, $crate::recording::Malformed> {
                Ok(match <u8 as $crate::recording::Field>::take(reader)? {
                    $(
                        $number => {
                            $($(let $field = $crate::recording::Field::take(reader)?;)*)?
                            $($(let $value = $crate::recording::Field::take(reader)?;)*)?
                            Self::$variant $({ $($field),* })? $(( $($value),* ))?
                        }
                    )*
                    _ => return Err($crate::recording::Malformed),
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Pair {
        left: Option<u16>,
        right: Vec<String>,
    }
    recorded_struct!(Pair { left, right });

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Choice {
        Nothing,
        One(IpAddr),
        Named { pair: Pair, long: Duration },
    }
    recorded_enum!(Choice { 0 => Nothing, 1 => One(address), 2 => Named { pair, long } });

    fn choices() -> impl Strategy<Value = Choice> {
        let named = (any::<Option<u16>>(), any::<Vec<String>>(), any::<Duration>());
        prop_oneof![
            Just(Choice::Nothing),
            any::<IpAddr>().prop_map(Choice::One),
            named.prop_map(|(left, right, long)| Choice::Named { pair: Pair { left, right }, long }),
        ]
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_it_was_written(value in proptest::collection::vec(choices(), 0..8)) {
            let mut out = Vec::new();
            value.put(&mut out);
            prop_assert_eq!(Reader::new(&out).whole::<Vec<Choice>>(), Ok(value));
            out.push(0);
            prop_assert_eq!(Reader::new(&out).whole::<Vec<Choice>>(), Err(Malformed));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = Reader::new(&bytes).whole::<Vec<Choice>>();
        }
    }

    /// A length that nothing stands behind takes no memory.
    #[test]
    fn a_length_beyond_the_record_is_refused() {
        assert_eq!(Reader::new(&[255; 4]).whole::<Vec<u8>>(), Err(Malformed));
        assert_eq!(Reader::new(&[255; 4]).whole::<String>(), Err(Malformed));
    }
}
