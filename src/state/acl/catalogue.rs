//! The commands as rules of access name them.
//!
//! Invariant: a command's place is its number in the command table, and a container stands before its subcommands.

use hashbrown::HashMap;

/// One command.
#[derive(Clone, Debug)]
pub struct Named {
    /// In lower case; a subcommand's is `container|name`.
    pub name: &'static str,
    /// The categories it belongs to, a bit for each by its place among [`Catalogue::categories`].
    pub categories: u64,
    /// Whether any user may run it, like AUTH.
    pub for_all: bool,
    /// How many of those behind it are its subcommands.
    pub subcommands: usize,
}

/// All commands and categories.
#[derive(Default)]
pub struct Catalogue {
    commands: Vec<Named>,
    by_name: HashMap<&'static str, usize>,
    categories: &'static [&'static str],
}

impl Catalogue {
    /// A catalogue of `commands`, by their numbers, and of at most 64 `categories`.
    pub fn new(commands: Vec<Named>, categories: &'static [&'static str]) -> Catalogue {
        assert!(categories.len() <= 64, "categories are bits of a number");
        let by_name = commands.iter().enumerate().map(|(number, named)| (named.name, number)).collect();
        Catalogue { commands, by_name, categories }
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The command with a number.
    pub fn command(&self, number: usize) -> &Named {
        &self.commands[number]
    }

    /// The number of the command called `name` in any case.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(&*name.to_ascii_lowercase()).copied()
    }

    /// The bit of the category called `name` in any case.
    pub fn category(&self, name: &str) -> Option<u64> {
        let place = self.categories.iter().position(|category| category.eq_ignore_ascii_case(name))?;
        Some(1 << place)
    }

    /// The names of all categories.
    pub fn categories(&self) -> &'static [&'static str] {
        self.categories
    }

    /// The numbers of the commands of a category.
    pub fn members(&self, category: u64) -> impl Iterator<Item = usize> {
        let member = move |number: &usize| self.commands[*number].categories & category != 0;
        (0..self.commands.len()).filter(member)
    }

    /// The numbers of a command and its subcommands.
    pub fn family(&self, number: usize) -> std::ops::RangeInclusive<usize> {
        number..=number + self.commands[number].subcommands
    }
}
