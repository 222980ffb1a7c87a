//! The order of addresses: of modules in every dump, and of blocks in one that crowds them in one place.

/// Bits of a canonical address that tell it from others: those above repeat the highest of them (Intel, *Software
/// Developer's Manual*, volume 1, 3.3.7.1, of processors without 57-bit addresses).
const ADDRESS: u32 = 48;
/// Bits of an index that go with them in one word.
const INDEX: u32 = u64::BITS - ADDRESS;

/// The indices of addresses, given as pairs of both, by ascending address, and those of the same address by
/// ascending index.
///
/// Where all addresses are canonical, as they are but in a damaged dump, one word holds address and index: that
/// sorts twice as fast as pairs do.
pub fn ascending(mut pairs: Vec<(u64, u64)>) -> Vec<u64> {
    let fits = |(address, index): &(u64, u64)| {
        let above = address >> (ADDRESS - 1);
        (above == 0 || above == u64::MAX >> (ADDRESS - 1)) && index >> INDEX == 0
    };
    // Without a branch for each: all of them fit nearly always.
    if pairs.iter().fold(true, |all, pair| all & fits(pair)) {
        // The bits above fall out: what remains has the same order.
        let word = |(address, index): &(u64, u64)| address << INDEX | index;
        let mut words: Vec<u64> = pairs.iter().map(word).collect();
        words.sort_unstable();
        for word in &mut words {
            *word &= (1 << INDEX) - 1;
        }
        return words;
    }
    pairs.sort_unstable();
    pairs.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_halves_and_others_come_by_ascending_address() {
        const KERNEL: u64 = 0xFFFF_8000_0000_0000;
        for far in [0, KERNEL, u64::MAX - 5000, 1 << 47, 1 << 60] {
            let mut pairs: Vec<(u64, u64)> = (0..200)
                .map(|n| (n * 7919 % 401 + if n % 3 == 0 { far } else { 0 }, n))
                .collect();
            let found = ascending(pairs.clone());
            pairs.sort_unstable();
            let expected: Vec<u64> = pairs.iter().map(|(_, index)| *index).collect();
            assert_eq!(found, expected, "{far:#x}");
        }
        assert_eq!(ascending(vec![(5, 1 << INDEX), (4, 0)]), [0, 1 << INDEX]);
        assert!(ascending(Vec::new()).is_empty());
    }
}
