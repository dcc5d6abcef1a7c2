//! Parts of a page that can change while it is looked at, each with an `id`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use maud::Markup;

/// A part of a page; what it is made of has its own id as outermost element.
pub(super) struct Fragment {
    pub(super) id: String,
    pub(super) html: Markup,
}

/// What of a page can change: sections, and a table whose rows are sent one by one.
#[derive(Default)]
pub(super) struct Fragments {
    pub(super) sections: Vec<Fragment>,
    /// The whole table.
    pub(super) table: Option<Fragment>,
    /// The same rows again, each by itself.
    pub(super) rows: Vec<Fragment>,
}

/// What a live page has.
#[derive(Default)]
pub(super) struct Seen {
    hashes: HashMap<String, u64>,
    rows: u64,
}

impl Fragments {
    /// A word for all of it: a page that has this word has all of it.
    pub(super) fn word(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for fragment in self.sections.iter().chain(&self.table) {
            fragment.html.0.hash(&mut hasher);
        }
        format!("{:x}", hasher.finish())
    }

    /// What a page lacks that has seen this; it has it then.
    pub(super) fn news(&self, seen: &mut Seen) -> Vec<&str> {
        let mut ids = DefaultHasher::new();
        self.rows.iter().for_each(|row| row.id.hash(&mut ids));
        let ids = ids.finish();
        let same_rows = seen.rows == ids;
        seen.rows = ids;
        let mut news = Vec::new();
        for section in &self.sections {
            if seen.is_new(section) {
                news.push(section.html.0.as_str());
            }
        }
        // All are looked at, so that they are known.
        let rows: Vec<&str> =
            self.rows.iter().filter(|row| seen.is_new(row)).map(|row| row.html.0.as_str()).collect();
        match &self.table {
            Some(table) if !same_rows => news.push(&table.html.0),
            _ => news.extend(rows),
        }
        news
    }
}

impl Seen {
    fn is_new(&mut self, fragment: &Fragment) -> bool {
        let mut hasher = DefaultHasher::new();
        fragment.html.0.hash(&mut hasher);
        let hash = hasher.finish();
        self.hashes.insert(fragment.id.clone(), hash) != Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use maud::PreEscaped;

    use super::*;

    fn fragments(head: &str, rows: &[(&str, &str)]) -> Fragments {
        let fragment = |id: &str, html: &str| Fragment { id: id.into(), html: PreEscaped(html.into()) };
        let all: String = rows.iter().map(|(_, html)| *html).collect();
        Fragments {
            sections: vec![fragment("head", head)],
            table: Some(fragment("jobs", &format!("[{all}]"))),
            rows: rows.iter().map(|(id, html)| fragment(id, html)).collect(),
        }
    }

    #[test]
    fn a_page_gets_what_it_lacks() {
        let mut seen = Seen::default();
        assert_eq!(fragments("h", &[("a", "a1")]).news(&mut seen), ["h", "[a1]"]);
        assert!(fragments("h", &[("a", "a1")]).news(&mut seen).is_empty());
        assert_eq!(fragments("h2", &[("a", "a1"), ("b", "b1")]).news(&mut seen), ["h2", "[a1b1]"]);
        assert_eq!(fragments("h2", &[("a", "a1"), ("b", "b2")]).news(&mut seen), ["b2"]);
        assert_ne!(fragments("h", &[]).word(), fragments("h2", &[]).word());
    }
}
