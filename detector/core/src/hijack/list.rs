//! Lists of numbers that are stored in pages: what is added or changed is written, and the rest is not.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::provenance::pages::{Page, PageRef, Paged, Pages};

/// A number of a list, or a few that belong together.
pub(crate) trait Item: Copy + Default {
    /// Bytes of it in a page.
    const BYTES: usize;

    fn write(self, out: &mut Vec<u8>);

    /// Reads what [`Item::write`] wrote; `bytes` are as many.
    fn read(bytes: &[u8]) -> Self;
}

/// At most `MAX` items in pages of `PAGE`: both are part of the stored form. Full: nothing is added. Serialised is how many
/// there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct List<T, const PAGE: usize, const MAX: usize> {
    items: Vec<T>,
    pages: Pages,
}

impl<T: Item, const PAGE: usize, const MAX: usize> List<T, PAGE, MAX> {
    const PLACES: () = assert!(MAX.div_ceil(PAGE) <= 64, "pages are bits of a word");

    pub(crate) fn push(&mut self, item: T) {
        const { Self::PLACES };
        if self.items.len() < MAX {
            self.pages.touch(self.items.len() / PAGE);
            self.items.push(item);
        }
    }

    pub(crate) fn set(&mut self, at: usize, item: T) {
        if let Some(it) = self.items.get_mut(at) {
            *it = item;
            self.pages.touch(at / PAGE);
        }
    }

    pub(crate) fn room(&self) -> usize {
        MAX - self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
    }
}

impl<T, const PAGE: usize, const MAX: usize> Deref for List<T, PAGE, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: Item, const PAGE: usize, const MAX: usize> Paged for List<T, PAGE, MAX> {
    fn pages(&self) -> &Pages {
        &self.pages
    }

    fn pages_mut(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn held(&self) -> u64 {
        (0..self.items.len().div_ceil(PAGE)).fold(0, |bits, place| bits | 1 << place)
    }

    fn page(&self, place: usize) -> PageRef<'_> {
        let mut out = Vec::with_capacity(PAGE * T::BYTES);
        self.items.iter().skip(place * PAGE).take(PAGE).for_each(|it| it.write(&mut out));
        PageRef::Numbers(out)
    }

    fn put_back(&mut self, place: usize, page: Page) {
        let Page::Numbers(bytes) = page else { return };
        let items = self.items.iter_mut().skip(place * PAGE).take(PAGE);
        items.zip(bytes.chunks_exact(T::BYTES)).for_each(|(it, bytes)| *it = T::read(bytes));
    }
}

impl<T, const PAGE: usize, const MAX: usize> Serialize for List<T, PAGE, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.len().serialize(serializer)
    }
}

impl<'de, T: Item, const PAGE: usize, const MAX: usize> Deserialize<'de> for List<T, PAGE, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = usize::deserialize(deserializer)?;
        if count > MAX {
            return Err(serde::de::Error::custom("more items than a list holds"));
        }
        let mut list = Self { items: vec![T::default(); count], pages: Pages::default() };
        list.pages = Pages::stored(list.held());
        Ok(list)
    }
}

macro_rules! item {
    ($($number:ty),*) => {$(
        impl Item for $number {
            const BYTES: usize = size_of::<Self>();

            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or(0, Self::from_le_bytes)
            }
        }
    )*};
}

item!(i8, i16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::pages::{Shelf, attach, drain};

    #[test]
    fn its_pages_are_the_whole() {
        let mut list: List<u32, 4, 10> = List::default();
        let mut stored = [const { None }; 3];
        for n in 0..20 {
            list.push(n);
            if n % 3 == 0 {
                list.set(n as usize / 2, n + 100);
            }
            drain(Shelf::UserWords, &mut list, &mut |(_, place), page| {
                assert!(usize::from(place) == list_page(n) || n % 3 == 0, "only what changed is written");
                stored[usize::from(place)] = page.map(|it| postcard::to_allocvec(&it).unwrap());
            });
            let mut read: List<u32, 4, 10> = postcard::from_bytes(&postcard::to_allocvec(&list).unwrap()).unwrap();
            for (place, page) in (0..).zip(&stored) {
                attach(&mut read, place, page.as_ref().map(|it| postcard::from_bytes(it).unwrap()));
            }
            assert_eq!(read, list, "after {n}");
        }
        assert_eq!((list.len(), list.room()), (10, 0));
    }

    fn list_page(n: u32) -> usize {
        n.min(9) as usize / 4
    }

    #[test]
    fn bytes_of_anybody_do_not_panic() {
        assert!(postcard::from_bytes::<List<i8, 4, 10>>(&[11]).is_err());
        let mut list: List<u64, 4, 10> = postcard::from_bytes(&[10]).unwrap();
        for (place, bytes) in [(0, 3), (1, 100), (2, 0), (63, 9)] {
            attach(&mut list, place, Some(Page::Numbers(vec![1; bytes])));
            attach(&mut list, place, Some(Page::Paths(Vec::new())));
        }
        assert_eq!(list[3..6], [0, 0x0101_0101_0101_0101, 0x0101_0101_0101_0101]);
    }
}
