use std::collections::HashMap;

use super::{Basis, Lineage, Lineages, Said};
use crate::wire::StepV1;
use crate::{Limits, Timestamp};

/// Each step in order, as `session [root=…] [parent=…] [shown]`, and where it ends: root, parent and those above that, or
/// the field it is refused for.
fn check(script: &[(&str, &str)]) {
    // What the log would hold, and what one request that goes on for ever would know.
    let (mut told, mut kept) = (HashMap::<String, Lineage>::new(), Lineages::default());
    for (line, expected) in script {
        let mut words = line.split(' ');
        let session = words.next().expect("a session");
        if let Some(what @ ("halted" | "unheard")) = words.clone().next() {
            let unheard_since = (what == "unheard").then_some(7);
            let settled = |it: &Lineage| match unheard_since {
                Some(_) => Lineage { unheard_since, ..it.clone() },
                None => Lineage { basis: Basis::Settled, ..it.clone() },
            };
            let tie = || Lineage { unheard_since, ..Lineage::of_root(&session.into()) };
            let lineage = told.get(session).map_or_else(tie, settled);
            kept.load(session.to_owned(), Some(lineage.clone()));
            told.insert(session.to_owned(), lineage);
            continue;
        }
        let mut fields = format!(r#""session_id":"{session}","kind":"plan","agent":{{"id":"a"}}"#);
        let mut shown = false;
        for word in words {
            match word.split_once('=') {
                Some((name, id)) => fields += &format!(r#","{name}_session_id":"{id}""#),
                None => shown = true,
            }
        }
        let json = format!("{{{fields}}}");
        let sent = StepV1::parse(json.as_bytes()).expect(line);
        let said = if shown { Said::Shown } else { sent.said() };
        let mut fresh = Lineages::default();
        for known in [&mut fresh, &mut kept] {
            let mut step = StepV1::parse(json.as_bytes())
                .expect(line)
                .check(Timestamp::from_micros(0), &Limits::DEFAULT)
                .expect(line);
            while let Some(id) = known.absent(&step, said).map(str::to_owned) {
                let remembered = told.get(&id).cloned();
                known.load(id, remembered);
            }
            let found = match known.settle(&mut step, said) {
                Ok(_) => {
                    let parent = step.parent_session_id.as_ref().map_or("-", |it| it.as_str());
                    let above = step.ancestors.iter().map(|it| format!(" {it}")).collect::<String>();
                    format!("{} {parent}{above}", step.root_session_id)
                }
                Err(rejection) => {
                    assert_eq!(rejection.reason.as_str(), "contradiction", "{line}");
                    rejection.field.expect("a field").into_owned()
                }
            };
            assert_eq!(found, *expected, "{line} in {script:?}");
        }
        for (id, news) in told.iter_mut() {
            if let Some(now) = fresh.of(id) {
                news.clone_from(now);
            }
        }
        if let Some(news) = fresh.of(session) {
            assert_eq!(Lineage::from_log(&news.to_json()).as_ref(), Some(news), "{line}");
            told.insert(session.to_owned(), news.clone());
        }
        let heard = |id: &str| told.get(id).is_none_or(|it| it.unheard_since.is_none());
        let of_session = told.get(session).into_iter();
        let mut named = of_session.flat_map(|it| it.parent_session_id.iter().chain([&it.root_session_id]));
        assert!(heard(session) && named.all(|it| heard(it.as_str())), "{line} in {script:?}");
    }
}

/// Whoever speaks is heard of, and whom it names.
#[test]
fn a_mark_is_taken_away_by_the_session_and_by_those_below_it() {
    check(&[
        ("r unheard", ""),
        ("kid parent=r", "r r"),
        ("r unheard", ""),
        ("other root=r", "r -"),
        ("s unheard", ""),
        ("s", "s -"),
        ("late parent=mother", "mother mother"),
        ("later parent=late", "mother late"),
        ("late unheard", ""),
        ("later", "mother late"),
        ("late unheard", ""),
        ("late", "mother mother"),
        ("below root=top parent=late", "top late mother"),
    ]);
}

#[test]
fn what_the_first_step_says_fills_in_what_is_left_away() {
    check(&[
        ("kid root=r parent=p", "r p"),
        ("kid", "r p"),
        ("kid parent=p", "r p"),
        ("kid root=r", "r p"),
        ("other", "other -"),
    ]);
    check(&[("r root=r", "r -"), ("r", "r -"), ("r root=q", "root_session_id"), ("r", "r -")]);
    // The parent may come later, where there is one in the run.
    check(&[("kid root=r", "r -"), ("kid", "r -"), ("kid root=r parent=p", "r p"), ("kid", "r p")]);
}

#[test]
fn nothing_else_is_told_later() {
    check(&[
        ("kid root=r parent=p", "r p"),
        ("kid root=kid", "root_session_id"),
        ("kid root=q parent=p", "root_session_id"),
        ("kid root=r parent=q", "parent_session_id"),
        ("kid parent=q", "parent_session_id"),
        ("kid", "r p"),
    ]);
    // Who has begun without either is the root of its run.
    check(&[
        ("s", "s -"),
        ("s root=r", "root_session_id"),
        ("s root=r parent=p", "parent_session_id"),
        ("s parent=p", "parent_session_id"),
        ("s root=r parent=r shown", "s -"),
        ("s root=s", "s -"),
        ("kid parent=s root=q", "root_session_id"),
        ("kid parent=s", "s s"),
    ]);
}

#[test]
fn a_child_that_names_its_parent_alone_is_in_the_run_of_that() {
    check(&[
        ("kid root=r parent=r", "r r"),
        ("grandkid parent=kid", "r kid"),
        ("grandkid", "r kid"),
        ("great parent=grandkid", "r grandkid kid"),
        ("great root=great", "root_session_id"),
    ]);
    // Where the parent has not begun it is the root, until it begins elsewhere: its children go with it.
    check(&[
        ("late parent=mother", "mother mother"),
        ("later parent=late", "mother late"),
        // Nobody leaves a run by telling another root or parent, nor by calling itself one.
        ("late root=r", "root_session_id"),
        ("late root=late", "root_session_id"),
        ("late parent=elsewhere", "parent_session_id"),
        ("mother root=r parent=r", "r r"),
        // Where `late` stands in that run, nobody has said there yet.
        ("later", "r late mother"),
        ("late", "r mother"),
        ("late root=mother parent=mother", "root_session_id"),
        ("late root=r parent=mother", "r mother"),
        ("later root=mother", "root_session_id"),
        ("later root=r", "r late mother"),
    ]);
    check(&[
        ("late parent=mother", "mother mother"),
        ("mother", "mother -"),
        ("late", "mother mother"),
        ("mother root=r", "root_session_id"),
    ]);
}

#[test]
fn a_session_is_in_the_run_of_its_parent() {
    check(&[
        ("kid root=r parent=p", "r p"),
        ("grandkid root=q parent=kid", "root_session_id"),
        ("grandkid root=r parent=kid", "r kid p"),
        ("other root=q", "q -"),
        ("other parent=kid", "root_session_id"),
        ("other parent=unknown", "q unknown"),
        ("shown root=s parent=s shown", "s s"),
        ("below root=r parent=shown", "r shown s"),
        ("below", "r shown s"),
    ]);
    // A parent that has not begun refuses nobody, until it begins.
    check(&[
        ("early root=r parent=mother", "r mother"),
        ("early", "r mother"),
        ("mother", "mother -"),
        ("early", "root_session_id"),
        ("early root=r parent=mother", "root_session_id"),
        ("early root=mother", "root_session_id"),
    ]);
    check(&[("early root=r parent=mother", "r mother"), ("mother root=r", "r -"), ("early", "r mother")]);
    // Nor is anybody below itself.
    check(&[
        ("a parent=b", "b b"),
        ("b parent=c", "c c"),
        ("c parent=a", "parent_session_id"),
        ("c", "c -"),
        ("a", "c b"),
        ("x root=y", "y -"),
        ("y root=x", "root_session_id"),
        ("y parent=x", "root_session_id"),
    ]);
    // Nobody is the root of a run whom another one started.
    check(&[
        ("kid root=kid parent=mother", "root_session_id"),
        ("kid parent=mother", "mother mother"),
        ("grandkid root=kid parent=kid", "root_session_id"),
        ("other root=kid parent=unknown", "root_session_id"),
        ("early root=mother", "mother -"),
        ("early root=mother parent=late", "mother late"),
        ("below parent=early", "mother early late"),
        ("mother parent=r", "r r"),
        ("early", "root_session_id"),
        ("below", "root_session_id"),
    ]);
    // Nor does one go on below a session that is refused.
    check(&[
        ("early root=r parent=mother", "r mother"),
        ("kid parent=early", "r early mother"),
        ("mother root=q", "q -"),
        ("kid", "parent_session_id"),
        ("new parent=early", "parent_session_id"),
        ("new root=r parent=kid", "parent_session_id"),
        ("early", "root_session_id"),
        ("seen root=r parent=early shown", "r early mother q"),
    ]);
    // Told before its own root was certain, which then stays.
    check(&[
        ("late parent=mother", "mother mother"),
        ("late root=mother", "mother mother"),
        ("mother root=r", "r -"),
        ("late", "root_session_id"),
    ]);
}

#[test]
fn a_session_that_was_halted_stays_where_that_was() {
    check(&[
        ("kid parent=s", "s s"),
        ("shown root=s parent=s shown", "s s"),
        ("kid halted", ""),
        ("shown halted", ""),
        ("shown root=q", "root_session_id"),
        ("kid root=q", "root_session_id"),
        ("grandkid parent=kid root=q", "root_session_id"),
        ("grandkid parent=kid", "s kid"),
    ]);
    // Of which no step was seen.
    check(&[("s halted", ""), ("s root=r", "root_session_id"), ("s", "s -")]);
}

#[test]
fn what_telemetry_shows_gives_way_and_never_contradicts() {
    check(&[
        ("shown root=p parent=p shown", "p p"),
        ("shown parent=p", "p p"),
        ("shown parent=q", "parent_session_id"),
        ("kid root=p parent=p shown", "p p"),
        ("kid", "p p"),
        ("kid root=q parent=q shown", "p p"),
        ("kid root=r parent=p", "r p"),
        ("kid root=p parent=p shown", "r p"),
        ("kid", "r p"),
        ("root root=q parent=q shown", "q q"),
        ("root root=root", "root -"),
        ("root", "root -"),
        // Of a session further up than the parent.
        ("deep root=top parent=mid shown", "top mid"),
        ("deep", "top mid"),
        ("deep parent=mid", "top mid"),
        ("low root=top parent=mid shown", "top mid"),
        ("mid root=r", "r -"),
        ("low", "r mid"),
        ("deep", "r mid"),
    ]);
    // Spans of a child may come before those of its parent.
    check(&[
        ("kid shown", "kid -"),
        ("kid shown", "kid -"),
        ("kid root=p parent=p shown", "p p"),
        ("kid shown", "p p"),
        ("other shown", "other -"),
        ("other root=r", "r -"),
        ("other root=p parent=p shown", "r -"),
    ]);
}

#[test]
fn a_line_of_sessions_that_tell_their_parents_alone_ends() {
    let above = |parent: u32| {
        let between = (1..parent).rev().take(super::ABOVE_MAX - 1).map(|it| format!(" s{it}"));
        format!("s0 s{parent}{}", between.collect::<String>())
    };
    let mut script: Vec<_> = (1..40).map(|n| (format!("s{n} parent=s{}", n - 1), above(n - 1))).collect();
    script[0].1 = "s0 s0".to_owned();
    script.push(("s0 parent=s39".to_owned(), above(39)));
    script.push(("s39".to_owned(), above(38)));
    check(&script.iter().map(|(line, expected)| (line.as_str(), expected.as_str())).collect::<Vec<_>>());
}

#[test]
fn records_are_read_as_ever() {
    let read = |line: &str| Lineage::from_log(line.as_bytes()).expect("a record");
    let v1 = include_str!("../../fixtures/lineage/v1.jsonl").lines().map(|it| read(it).basis);
    assert_eq!(v1.collect::<Vec<_>>(), [Basis::Settled, Basis::Settled, Basis::Inferred]);
    let [v2, v3] = [include_str!("../../fixtures/lineage/v2.jsonl"), include_str!("../../fixtures/lineage/v3.jsonl")];
    for line in v2.lines().chain(v3.lines()) {
        assert_eq!(String::from_utf8_lossy(&read(line).to_json()), line);
    }
}

#[test]
fn a_record_that_says_nothing_is_none() {
    for record in [&b""[..], b"{}", b"null", b"\xff"] {
        assert_eq!(Lineage::from_log(record), None);
    }
    let newer = br#"{"root_session_id":"r","parent_session_id":"p","more":1}"#;
    assert_eq!(Lineage::from_log(newer).map(|it| it.root_session_id.to_string()), Some("r".to_owned()));
}
