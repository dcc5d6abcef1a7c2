//! What a forge is told of a commit.

/// One status of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Under which name it stands there.
    pub name: String,
    /// How it is.
    pub state: State,
    /// One sentence; cut to what the forge takes.
    pub description: String,
    /// Where there is more.
    pub url: String,
}

/// How a commit is. The forge's own word may be a coarser one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not known yet.
    Pending,
    /// Good.
    Passed,
    /// The code is at fault.
    Failed,
    /// The machine, or whoever runs it, is at fault.
    Broken,
    /// Somebody stopped it.
    Cancelled,
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
