//! What a query may look like, decided on its text before anything walks it.
//!
//! A plan is a tree, and it is walked, compared and dropped by functions that call themselves. The parser bounds
//! parentheses only: `1 + 1 + …` is as deep as it is long. So depth is bounded here, where nothing calls itself yet.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, TableFactor, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::Error;

/// Operators and keywords that may lie within one another. Items of a list lie beside one another: a list may be long.
pub(super) const NESTED_MAX: usize = 200;
/// Tables that a query may read, each reference to a `WITH` counted as the tables that one reads.
const TABLES_MAX: u64 = 64;
/// Queries within one another: each is planned twice, for each time that the one around it is.
const QUERIES_NESTED_MAX: usize = 10;

/// Refuses a text that nests too deep. Whether it is SQL at all is for the parser to say.
pub(super) fn check_text(sql: &str) -> Result<(), Error> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let depth = depth(&tokens);
    if depth > NESTED_MAX {
        return Err(Error::invalid(format!(
            "the query nests {depth} operators and keywords: at most {NESTED_MAX} may lie within one another; \
             write IN (…) in place of many OR, or split the query"
        )));
    }
    Ok(())
}

/// What is between two parentheses, or the whole.
#[derive(Default)]
struct Level {
    /// Of the item under way: what nests by itself, and the deepest that is in parentheses.
    own: usize,
    inner: usize,
    /// Of the items before it.
    deepest: usize,
    /// Each item can name the one before it, so they lie within one another.
    chained: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.deepest.max(self.own + self.inner)
    }

    fn take_in(&mut self, inner: usize) {
        self.inner = if self.chained { self.inner + inner } else { self.inner.max(inner) };
    }
}

/// An upper bound of how deep the tree of a text can be.
fn depth(tokens: &[Token]) -> usize {
    let mut outer: Vec<Level> = Vec::new();
    let mut level = Level::default();
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                level.own += 1;
                outer.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                let inner = level.depth();
                level = outer.pop().unwrap_or_default();
                level.take_in(inner);
            }
            Token::Comma | Token::SemiColon if !level.chained => {
                let deepest = level.depth();
                level = Level { deepest, ..Level::default() };
            }
            Token::Word(word) if word.keyword == Keyword::WITH => {
                level.own += 1;
                level.chained = true;
            }
            other => level.own += usize::from(nests(other)),
        }
    }
    while let Some(mut next) = outer.pop() {
        next.take_in(level.depth());
        level = next;
    }
    level.depth()
}

/// Everything does that is not known to stand by itself.
const fn nests(token: &Token) -> bool {
    match token {
        Token::Word(word) => !matches!(
            word.keyword,
            Keyword::NoKeyword
                | Keyword::AS
                | Keyword::ASC
                | Keyword::BY
                | Keyword::DESC
                | Keyword::END
                | Keyword::FALSE
                | Keyword::FROM
                | Keyword::GROUP
                | Keyword::LIMIT
                | Keyword::NULL
                | Keyword::ON
                | Keyword::ORDER
                | Keyword::THEN
                | Keyword::TRUE
                | Keyword::WHEN
                | Keyword::WHERE
        ),
        Token::EOF
        | Token::Whitespace(_)
        | Token::Comma
        | Token::SemiColon
        | Token::Period
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_) => false,
        _ => true,
    }
}

/// Refuses a statement that nests too many queries, or reads more tables than [`TABLES_MAX`]: a chain of `WITH`, each reading the one before it
/// twice, is short to write and doubles with each link.
pub(super) fn check_tables(statement: &Statement) -> Result<(), Error> {
    let mut counting = Tables::default();
    match statement {
        Statement::Statement(statement) => {
            let _ = statement.visit(&mut counting);
        }
        Statement::Explain(explain) => return check_tables(&explain.statement),
        _ => {}
    }
    let nested = counting.deepest.saturating_sub(1);
    if nested > QUERIES_NESTED_MAX {
        return Err(Error::invalid(format!(
            "{nested} queries lie within one another: at most {QUERIES_NESTED_MAX} may; name some with WITH"
        )));
    }
    let tables = counting.of.last().copied().unwrap_or(0);
    if tables > TABLES_MAX {
        return Err(Error::invalid(format!(
            "the query reads {tables} tables, each use of a WITH counted anew: at most {TABLES_MAX} may be read"
        )));
    }
    Ok(())
}

struct Tables {
    /// Of the queries that are being visited, the innermost last; the first is the statement.
    of: Vec<u64>,
    /// The most there were at once.
    deepest: usize,
    /// Queries that a `WITH` names, by their address while they are visited.
    named: HashMap<*const Query, String>,
    /// By the name of a `WITH`; the most when a name is given twice.
    with: HashMap<String, u64>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { of: vec![0], deepest: 1, named: HashMap::new(), with: HashMap::new() }
    }
}

impl Tables {
    fn add(&mut self, tables: u64) {
        if let Some(of) = self.of.last_mut() {
            *of = of.saturating_add(tables);
        }
    }
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for with in query.with.iter().flat_map(|it| &it.cte_tables) {
            self.named.insert(std::ptr::from_ref(&*with.query), with.alias.name.value.to_lowercase());
        }
        self.of.push(0);
        self.deepest = self.deepest.max(self.of.len());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = self.of.pop().unwrap_or(0);
        match self.named.remove(&std::ptr::from_ref(query)) {
            Some(name) => {
                let most = self.with.entry(name).or_default();
                *most = tables.max(*most);
            }
            None => self.add(tables),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let named = match table {
            TableFactor::Table { name, .. } => name.0.last().and_then(|it| it.as_ident()),
            _ => None,
        };
        let tables = named.and_then(|it| self.with.get(&it.value.to_lowercase())).copied().unwrap_or(1);
        self.add(tables.max(1));
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::{NESTED_MAX, check_tables, check_text};

    #[test]
    fn depth_is_bounded_and_length_is_not() {
        let many = |part: &str, n: usize| part.repeat(n);
        for (sql, fits) in [
            (format!("SELECT 1{}", many(" + 1", NESTED_MAX - 2)), true),
            (format!("SELECT 1{}", many(" + 1", NESTED_MAX)), false),
            (format!("SELECT 1{}", many("::int", NESTED_MAX)), false),
            (format!("SELECT {}1", many("- ", NESTED_MAX)), false),
            (format!("SELECT {}true", many("NOT ", NESTED_MAX)), false),
            (format!("SELECT * FROM steps WHERE seq IN (0{})", many(", 1", 10_000)), true),
            (format!("SELECT 1{}", many(", 1 + 1", 5_000)), true),
            (format!("SELECT 1{}", many(" UNION ALL SELECT 1", NESTED_MAX)), false),
            (format!("SELECT {}1{}", many("(1 + ", 150), many(")", 150)), false),
            (format!("WITH a AS (SELECT 1){}", many(", b AS (SELECT 1 + 1 + 1)", 200)), false),
        ] {
            assert_eq!(check_text(&sql).is_ok(), fits, "{}", &sql[..sql.len().min(60)]);
        }
    }

    #[test]
    fn tables_are_counted_through_every_with() {
        let doubling = |n: usize| {
            let links: Vec<_> = (1..n).map(|it| format!("t{it} AS (SELECT * FROM t{0} a, T{0} b)", it - 1)).collect();
            format!("WITH t0 AS (SELECT * FROM steps), {} SELECT * FROM t{}", links.join(", "), n - 1)
        };
        let joins = |n| format!("SELECT * FROM steps s0{}", " JOIN steps ON true".repeat(n));
        for (sql, fits) in [
            (doubling(7), true),
            (doubling(8), false),
            (doubling(40), false),
            (joins(63), true),
            (joins(64), false),
            (format!("EXPLAIN {}", joins(64)), false),
            (format!("SELECT ({})", doubling(8)), false),
            (format!("{}SELECT 1{}", "SELECT (".repeat(9), ")".repeat(9)), true),
            (format!("{}SELECT 1{}", "SELECT (".repeat(10), ")".repeat(10)), false),
        ] {
            let statement = DFParser::parse_sql(&sql).expect("SQL").pop_front().expect("one");
            assert_eq!(check_tables(&statement).is_ok(), fits, "{}", &sql[..sql.len().min(60)]);
        }
    }
}
