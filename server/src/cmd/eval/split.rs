//! Which session teaches, calibrates or is judged, fold by fold.
//!
//! What is alike stays together: a cluster never has sessions on two sides. Everything follows from names and labels, so the
//! same sessions are divided the same way whatever the order of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use martingale_schemas::ids;

use super::labels::Kind;

/// A session, for those who divide.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    /// What it is alike with.
    pub(super) cluster: usize,
    /// Sessions of a run concern each other: none is judged without those beside it.
    pub(super) run: usize,
    /// Nothing for one that counts as nothing.
    pub(super) kind: Option<Kind>,
    pub(super) by: Option<&'a str>,
}

/// What a session is for while one fold is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Learnt,
    Calibrates,
    Judged,
    /// Of the run of one that calibrates or is judged: the detector sees it, and nothing is counted.
    Beside,
    Aside,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) name: String,
    /// By item.
    pub(super) roles: Vec<Role>,
}

/// How the folds are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deal {
    /// Clusters are dealt in turn.
    InTurn(usize),
    /// One for each value of [`Item::by`].
    OneOut,
}

/// Puts items that share a key into one cluster, and those that are so joined through others. Clusters are numbered in the
/// order of their first items.
pub(super) fn clusters<K: Eq + Hash>(keys: impl IntoIterator<Item = Vec<K>>) -> Vec<usize> {
    let (mut above, mut owner) = (Vec::new(), HashMap::new());
    for (item, keys) in keys.into_iter().enumerate() {
        above.push(item);
        for key in keys {
            let first = *owner.entry(key).or_insert(item);
            let (a, b) = (top(&mut above, first), top(&mut above, item));
            above[a.max(b)] = a.min(b);
        }
    }
    let mut numbers = HashMap::new();
    (0..above.len())
        .map(|item| {
            let (top, next) = (top(&mut above, item), numbers.len());
            *numbers.entry(top).or_insert(next)
        })
        .collect()
}

fn top(above: &mut [usize], mut item: usize) -> usize {
    while above[item] != item {
        above[item] = above[above[item]];
        item = above[item];
    }
    item
}

/// The folds. `calibrate` is the share of the clusters outside a fold that is kept from learning.
///
/// # Errors
/// When there is nothing to judge by: fewer than two folds.
pub(super) fn folds(items: &[Item<'_>], deal: Deal, calibrate: f64) -> Result<Vec<Fold>, &'static str> {
    let order = in_order(items);
    let fold_of_cluster =
        |count: usize| order.iter().enumerate().map(move |(at, cluster)| (*cluster, at % count)).collect();
    let values: BTreeSet<&str> = items.iter().filter(|it| it.kind.is_some()).filter_map(|it| it.by).collect();
    let (names, fold_of): (Vec<String>, HashMap<usize, usize>) = match deal {
        Deal::InTurn(count) => {
            let count = count.min(order.len());
            (
                (1..=count).map(|it| it.to_string()).collect(),
                if count > 0 { fold_of_cluster(count) } else { HashMap::new() },
            )
        }
        Deal::OneOut => (values.iter().map(|it| (*it).to_owned()).collect(), HashMap::new()),
    };
    if names.len() < 2 {
        return Err("there are not two parts to divide into, so that one could be judged by what the other taught");
    }
    let is_judged = |fold: usize, item: &Item<'_>| match deal {
        Deal::InTurn(_) => fold_of.get(&item.cluster) == Some(&fold),
        Deal::OneOut => item.by == Some(names[fold].as_str()),
    };
    Ok((0..names.len())
        .map(|fold| {
            let roles = roles(items, &order, calibrate, |item| item.kind.is_some() && is_judged(fold, item));
            Fold { name: names[fold].clone(), roles }
        })
        .collect())
}

/// Clusters that count, by a hash of the first of their names; those that can teach before the others, so that each fold
/// gets its share of them.
fn in_order(items: &[Item<'_>]) -> Vec<usize> {
    let mut clusters = BTreeMap::<usize, (bool, &str)>::new();
    for item in items.iter().filter(|it| it.kind.is_some()) {
        let (without_normal, name) = clusters.entry(item.cluster).or_insert((true, item.name));
        *without_normal &= item.kind != Some(Kind::Normal);
        *name = item.name.min(name);
    }
    let mut order: Vec<_> =
        clusters.into_iter().map(|(it, (without, name))| (without, ids::digest(&[name.as_bytes()]), it)).collect();
    order.sort_unstable();
    order.into_iter().map(|it| it.2).collect()
}

fn roles(items: &[Item<'_>], order: &[usize], calibrate: f64, is_judged: impl Fn(&Item<'_>) -> bool) -> Vec<Role> {
    let judged: BTreeSet<usize> = items.iter().filter(|it| is_judged(it)).map(|it| it.cluster).collect();
    let can_teach: BTreeSet<usize> =
        items.iter().filter(|it| it.kind == Some(Kind::Normal)).map(|it| it.cluster).collect();
    let outside = order.iter().filter(|it| can_teach.contains(*it) && !judged.contains(*it));
    // Spread evenly over the order, which is that of a hash.
    let whole = |number: usize| (number as f64 * calibrate).floor();
    let calibrating: BTreeSet<usize> =
        outside.enumerate().filter(|(at, _)| whole(at + 1) > whole(*at)).map(|it| *it.1).collect();
    let role = |item: &Item<'_>| match item.kind {
        Some(_) if is_judged(item) => Role::Judged,
        _ if judged.contains(&item.cluster) => Role::Aside,
        Some(Kind::Normal) if calibrating.contains(&item.cluster) => Role::Calibrates,
        Some(Kind::Normal) => Role::Learnt,
        _ => Role::Aside,
    };
    let roles: Vec<Role> = items.iter().map(role).collect();
    let seen = |role: &Role| matches!(role, Role::Judged | Role::Calibrates);
    let runs: BTreeSet<usize> = items.iter().zip(&roles).filter(|it| seen(it.1)).map(|it| it.0.run).collect();
    let beside = |(item, role): (&Item<'_>, Role)| match role {
        Role::Aside if runs.contains(&item.run) => Role::Beside,
        role => role,
    };
    items.iter().zip(roles).map(beside).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Deal, Fold, Item, Role, clusters, folds};
    use crate::cmd::eval::labels::Kind;

    #[test]
    fn what_shares_a_key_is_one_cluster() {
        for (keys, expected) in [
            (vec![], vec![]),
            (vec![vec!["a"], vec!["b"], vec!["a"]], vec![0, 1, 0]),
            // The last joins what stood apart before.
            (vec![vec!["a"], vec!["b"], vec!["c"], vec!["a", "c"]], vec![0, 1, 0, 0]),
            (vec![vec![], vec![], vec!["a"]], vec![0, 1, 2]),
        ] {
            assert_eq!(clusters(keys.clone()), expected, "{keys:?}");
        }
    }

    fn item(name: &'static str, cluster: usize, kind: Option<Kind>, by: &'static str) -> Item<'static> {
        Item { name, cluster, run: cluster, kind, by: Some(by) }
    }

    #[test]
    fn each_value_is_judged_by_what_the_others_taught() {
        let normal = Some(Kind::Normal);
        let items = [
            item("a", 0, normal, "x"),
            item("b", 1, normal, "y"),
            item("c", 2, normal, "y"),
            // Of both values: alike with what is judged, so it teaches nothing of it.
            item("d", 3, normal, "x"),
            Item { run: 9, ..item("e", 3, normal, "y") },
            // Seen, since it is of the run of `a`.
            item("f", 0, None, "x"),
            item("g", 4, Some(Kind::Bad { first: 1 }), "y"),
        ];
        let folds = folds(&items, Deal::OneOut, 0.5).expect("two values");
        assert_eq!(folds.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        let x = &folds[0].roles;
        assert_eq!(
            [x[0], x[3], x[4], x[5], x[6]],
            [Role::Judged, Role::Judged, Role::Aside, Role::Beside, Role::Aside]
        );
        assert!([[Role::Learnt, Role::Calibrates], [Role::Calibrates, Role::Learnt]].contains(&[x[1], x[2]]), "{x:?}");
        let y = &folds[1].roles;
        assert_eq!(
            [y[1], y[2], y[3], y[4], y[6]],
            [Role::Judged, Role::Judged, Role::Aside, Role::Judged, Role::Judged]
        );
        // One cluster outside: it is learnt from, and nothing calibrates.
        assert_eq!([y[0], y[5]], [Role::Learnt, Role::Aside]);
    }

    #[test]
    fn one_part_is_none() {
        let one = [item("a", 0, Some(Kind::Normal), "x"), item("b", 0, Some(Kind::Normal), "x")];
        for items in [&one[..], &[]] {
            assert!(folds(items, Deal::InTurn(5), 0.5).is_err() && folds(items, Deal::OneOut, 0.5).is_err());
        }
    }

    type Drawn = (u8, u8, u8);

    fn drawn(drawn: &[Drawn], names: &[String]) -> Vec<(usize, usize, Option<Kind>)> {
        let runs = clusters(drawn.iter().map(|it| vec![it.1]));
        let clusters = clusters(drawn.iter().map(|it| vec![(0, it.0), (1, it.1)]));
        let kind = |it: u8| match it {
            0..=3 => Some(Kind::Normal),
            4 => Some(Kind::Resisted),
            5 => Some(Kind::Bad { first: 3 }),
            _ => None,
        };
        (0..names.len()).map(|at| (clusters[at], runs[at], kind(drawn[at].2))).collect()
    }

    proptest! {
        #[test]
        fn nothing_is_judged_by_its_like(
            sessions in prop::collection::vec((0_u8..30, 0_u8..60, 0_u8..7), 2..60),
            count in 2_usize..8,
            calibrate in 0.05_f64..0.95,
        ) {
            let names: Vec<String> = (0..sessions.len()).map(|it| format!("s{it}")).collect();
            let about = drawn(&sessions, &names);
            let items: Vec<Item<'_>> = names
                .iter()
                .zip(&about)
                .map(|(name, (cluster, run, kind))| Item { name, cluster: *cluster, run: *run, kind: *kind, by: None })
                .collect();
            let Ok(folds) = folds(&items, Deal::InTurn(count), calibrate) else { return Ok(()) };
            let times = |at: usize| folds.iter().filter(|it| it.roles[at] == Role::Judged).count();
            for (at, item) in items.iter().enumerate() {
                prop_assert_eq!(times(at), usize::from(item.kind.is_some()), "each is judged once");
            }
            for fold in &folds {
                let sides = |item: &Item<'_>| {
                    let alike = items.iter().zip(&fold.roles).filter(|it| it.0.cluster == item.cluster).map(|it| *it.1);
                    alike.filter(|it| !matches!(it, Role::Aside | Role::Beside)).collect::<Vec<_>>()
                };
                for (item, role) in items.iter().zip(&fold.roles) {
                    prop_assert!(sides(item).windows(2).all(|it| it[0] == it[1]), "a cluster is on one side");
                    prop_assert!(*role != Role::Learnt || item.kind == Some(Kind::Normal));
                    let beside_one = |seen: Role| items.iter().zip(&fold.roles).any(|it| it.0.run == item.run && *it.1 == seen);
                    prop_assert!(*role != Role::Aside || !(beside_one(Role::Judged) || beside_one(Role::Calibrates)));
                }
            }
            let turned: Vec<Item<'_>> = items.iter().rev().cloned().collect();
            let turned = super::folds(&turned, Deal::InTurn(count), calibrate).expect("the same");
            let back = |it: Fold| Fold { roles: it.roles.into_iter().rev().collect(), ..it };
            prop_assert_eq!(turned.into_iter().map(back).collect::<Vec<_>>(), folds, "whatever the order");
        }
    }
}
