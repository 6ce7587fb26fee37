//! A sample of bounded size of everything that was met.

use crate::hash::mix;

/// Keeps at most `MAX`. Full: a later one takes the place of one drawn by a fixed hash of how many were met, so that what is
/// kept is a sample of all, and whoever sends sessions cannot name one so that it stays.
#[derive(Clone, Debug)]
pub(crate) struct Reservoir<T, const MAX: usize> {
    kept: Vec<T>,
    met: u64,
}

impl<T, const MAX: usize> Default for Reservoir<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), met: 0 }
    }
}

impl<T, const MAX: usize> Reservoir<T, MAX> {
    /// Answers the one that is not kept, if there is one.
    pub(crate) fn push(&mut self, it: T) -> Option<T> {
        self.met += 1;
        if self.kept.len() < MAX {
            self.kept.push(it);
            return None;
        }
        let place = usize::try_from(mix(self.met, 2) % self.met).unwrap_or(usize::MAX);
        match self.kept.get_mut(place) {
            Some(kept) => Some(std::mem::replace(kept, it)),
            None => Some(it),
        }
    }

    pub(crate) fn kept(&self) -> &[T] {
        &self.kept
    }

    pub(crate) fn into_kept(self) -> Vec<T> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::Reservoir;

    #[test]
    fn it_is_bounded_and_of_all() {
        const MAX: usize = 256;
        let mut sample = Reservoir::<usize, MAX>::default();
        let gone = (0..MAX * 4).filter_map(|it| sample.push(it)).count();
        assert_eq!((sample.kept().len(), gone), (MAX, MAX * 3));
        for quarter in 0..4 {
            let of_it = sample.kept().iter().filter(|it| **it / MAX == quarter).count();
            assert!((MAX / 6..MAX / 3).contains(&of_it), "{of_it} of the {quarter}th {MAX}");
        }
    }
}
