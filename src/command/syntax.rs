//! A command's syntax, as its row spells it, taken apart into the tree of arguments COMMAND DOCS answers.
//!
//! The notation is that of Redis's manual: words in lower case are operands, others stand for themselves, `[a]` may be
//! left out, `<a | b>` is a choice, and `a [a ...]` may be repeated.

/// One argument, or several that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// What it is called.
    pub name: String,
    /// The word that announces it.
    pub token: Option<String>,
    /// What it consists of.
    pub shape: Shape,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// Whether its token is repeated with it.
    pub multiple_token: bool,
}

/// What an argument consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One word the client chooses.
    Operand,
    /// Its token alone.
    Token,
    /// One of these.
    OneOf(Vec<Argument>),
    /// All of these, in order.
    Block(Vec<Argument>),
}

impl Argument {
    fn new(name: String, token: Option<String>, shape: Shape) -> Argument {
        Argument { name, token, shape, optional: false, multiple: false, multiple_token: false }
    }

    /// Its type in COMMAND DOCS.
    pub fn kind(&self) -> &'static str {
        match self.shape {
            Shape::Token => "pure-token",
            Shape::OneOf(_) => "oneof",
            Shape::Block(_) => "block",
            Shape::Operand => operand_kind(&self.name),
        }
    }
}

/// Guesses from its name what an operand is.
fn operand_kind(name: &str) -> &'static str {
    let last = name.rsplit('-').next().unwrap_or(name);
    match name {
        "key" | "newkey" | "source" | "destination" | "sourcekey" | "destkey" | "key1" | "key2" | "dst"
        | "src" => "key",
        "client-id" | "num-vertices" | "num-matches" | "entries-read" | "entries-added" | "min-idle-time" => {
            "integer"
        }
        "pattern" => "pattern",
        "score" | "longitude" | "latitude" | "radius" | "width" | "height" | "weight" | "min-score"
        | "max-score" => "double",
        _ if name.starts_with("unix-time") => "unix-time",
        _ => match last {
            "numkeys" | "numfields" | "increment" | "limit" | "bits" | "count" | "offset" | "start"
            | "end" | "stop" | "seconds" | "milliseconds" | "ms" | "timeout" | "index" | "index1"
            | "index2" | "db" | "cursor" | "ttl" | "port" | "bit" | "rank" | "maxlen" | "len"
            | "protover" | "threshold" | "slot" | "frequency" | "numreplicas" | "numlocal" | "entries"
            | "version" | "samples" | "retrycount" | "decrement" | "position" | "epoch" => "integer",
            _ => "string",
        },
    }
}

/// Takes a syntax apart; nothing if its brackets do not match.
pub fn parse(syntax: &str) -> Option<Vec<Argument>> {
    let mut words = Vec::new();
    for word in syntax.split_ascii_whitespace() {
        split_brackets(word, &mut words);
    }
    let mut parser = Parser { words: &words, at: 0 };
    let arguments = parser.sequence()?;
    (parser.at == words.len()).then_some(arguments)
}

/// Splits the brackets off a word.
fn split_brackets<'a>(word: &'a str, words: &mut Vec<&'a str>) {
    let is_bracket = |c: char| "[]<>|".contains(c);
    // Alone or in a choice these are words of their own.
    if word.len() > 1 {
        if let Some(rest) = word.strip_prefix(is_bracket) {
            words.push(&word[..1]);
            return split_brackets(rest, words);
        }
        if word.ends_with(is_bracket) {
            split_brackets(&word[..word.len() - 1], words);
            words.push(&word[word.len() - 1..]);
            return;
        }
    }
    words.push(word);
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// Arguments up to a closing bracket, a `|` or the end.
    fn sequence(&mut self) -> Option<Vec<Argument>> {
        let mut arguments: Vec<Argument> = Vec::new();
        // Where each argument's words begin, to recognise repetitions.
        let mut begins: Vec<usize> = Vec::new();
        while let Some(word) = self.peek() {
            match word {
                "]" | ">" | "|" | "..." => break,
                "[" if self.repeats(&mut arguments, &mut begins)? => {}
                _ => {
                    begins.push(self.at);
                    let argument = self.argument()?;
                    arguments.push(argument);
                }
            }
        }
        Some(arguments)
    }

    /// Takes `[a ...]` behind `a`; false if this is no such thing.
    fn repeats(&mut self, arguments: &mut Vec<Argument>, begins: &mut Vec<usize>) -> Option<bool> {
        let end = self.closing()?;
        let inside = &self.words[self.at + 1..end];
        let Some((&"...", repeated)) = inside.split_last() else { return Some(false) };
        let before = |count: usize| begins.len().checked_sub(count).map(|at| begins[at]);
        for count in 1..=arguments.len() {
            let Some(begin) = before(count) else { continue };
            let whole = &self.words[begin..self.at];
            let last = arguments.len() - 1;
            if whole == repeated {
                if count > 1 {
                    let block = arguments.split_off(arguments.len() - count);
                    begins.truncate(arguments.len() + 1);
                    arguments.push(Argument::new("data".to_string(), None, Shape::Block(block)));
                } else if arguments[last].token.is_some() {
                    arguments[last].multiple_token = true;
                }
            } else if !(count == 1 && arguments[last].token.is_some() && whole[1..] == *repeated) {
                continue;
            }
            arguments.last_mut()?.multiple = true;
            self.at = end + 1;
            return Some(true);
        }
        Some(false)
    }

    /// Where the bracket at `at` is closed.
    fn closing(&self) -> Option<usize> {
        let mut depth = 0;
        for (at, &word) in self.words.iter().enumerate().skip(self.at) {
            match word {
                "[" | "<" => depth += 1,
                "]" | ">" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn argument(&mut self) -> Option<Argument> {
        let word = self.peek()?;
        match word {
            "[" => {
                let mut argument = self.group("]")?;
                argument.optional = true;
                Some(argument)
            }
            "<" => self.group(">"),
            "..." => None,
            _ if is_operand(word) => {
                self.at += 1;
                Some(Argument::new(word.to_string(), None, Shape::Operand))
            }
            _ => self.token(),
        }
    }

    /// A word that stands for itself, and the operands it announces.
    fn token(&mut self) -> Option<Argument> {
        let token = self.peek()?;
        self.at += 1;
        let begin = self.at;
        let mut operands: Vec<Argument> = Vec::new();
        let mut begins: Vec<usize> = Vec::new();
        while let Some(word) = self.peek() {
            match word {
                "<" if operands.is_empty() || self.at > begin => {}
                "[" if !operands.is_empty() && self.repeats(&mut operands, &mut begins)? => continue,
                word if is_operand(word) => {}
                _ => break,
            }
            begins.push(self.at);
            let operand = self.argument()?;
            operands.push(operand);
        }
        let name = token.to_ascii_lowercase();
        let token = Some(token.to_string());
        Some(match operands.len() {
            0 => Argument::new(name, token, Shape::Token),
            1 if operands[0].token.is_none() && !matches!(operands[0].shape, Shape::Block(_)) => {
                let mut only = operands.pop()?;
                only.token = token;
                if matches!(only.shape, Shape::OneOf(_)) {
                    only.name = name;
                }
                only
            }
            _ => Argument::new(name, token, Shape::Block(operands)),
        })
    }

    /// What stands between brackets.
    fn group(&mut self, close: &str) -> Option<Argument> {
        self.at += 1;
        let mut choices = vec![self.sequence()?];
        let mut repeated = self.skip_dots();
        while self.peek()? == "|" {
            self.at += 1;
            choices.push(self.sequence()?);
            repeated |= self.skip_dots();
        }
        if self.peek()? != close {
            return None;
        }
        self.at += 1;
        let mut choices: Vec<Argument> = choices.into_iter().map(fold).collect::<Option<_>>()?;
        let mut argument = if choices.len() == 1 {
            choices.pop()?
        } else {
            let names: Vec<&str> = choices.iter().map(|choice| &*choice.name).collect();
            let name = if names.len() == 2 { names.join("-or-") } else { "option".to_string() };
            Argument::new(name, None, Shape::OneOf(choices))
        };
        argument.multiple |= repeated;
        Some(argument)
    }

    /// Skips `...`, whether there is one.
    fn skip_dots(&mut self) -> bool {
        let dots = self.peek() == Some("...");
        self.at += usize::from(dots);
        dots
    }
}

/// A sequence as one argument.
fn fold(mut sequence: Vec<Argument>) -> Option<Argument> {
    match sequence.len() {
        0 => None,
        1 => sequence.pop(),
        _ => {
            let name = sequence[0].name.clone();
            Some(Argument::new(name, None, Shape::Block(sequence)))
        }
    }
}

fn is_operand(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word != "..."
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    /// The tree in a notation of its own: `name:kind=TOKEN` with `?` for optional, `*` for repeated.
    fn show(arguments: &[Argument]) -> String {
        let show_one = |argument: &Argument| {
            let children = match &argument.shape {
                Shape::OneOf(children) | Shape::Block(children) => format!("({})", show(children)),
                _ => String::new(),
            };
            let token = argument.token.as_ref().map(|token| format!("={token}")).unwrap_or_default();
            let marks = [(argument.optional, "?"), (argument.multiple, "*"), (argument.multiple_token, "+")];
            let marks: String = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark).collect();
            format!("{}:{}{token}{children}{marks}", argument.name, argument.kind())
        };
        arguments.iter().map(show_one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn notations_are_understood() {
        let known = [
            ("", ""),
            ("key", "key:key"),
            ("key [key ...]", "key:key*"),
            ("[key [key ...]]", "key:key?*"),
            ("key value [key value ...]", "data:block(key:key value:string)*"),
            ("[NX | XX] [GET]", "nx-or-xx:oneof(nx:pure-token=NX xx:pure-token=XX)? get:pure-token=GET?"),
            (
                "[EX seconds | KEEPTTL]",
                "seconds-or-keepttl:oneof(seconds:integer=EX keepttl:pure-token=KEEPTTL)?",
            ),
            ("[LIMIT offset count]", "limit:block=LIMIT(offset:integer count:integer)?"),
            ("[GET pattern [GET pattern ...]]", "pattern:pattern=GET?*+"),
            ("[WEIGHTS weight [weight ...]]", "weight:double=WEIGHTS?*"),
            ("[TYPE <A | B>]", "type:oneof=TYPE(a:pure-token=A b:pure-token=B)?"),
            (
                "<host port | NO ONE>",
                "host-or-no:oneof(host:block(host:string port:integer) no:block(no:pure-token=NO one:pure-token=ONE))",
            ),
            ("STREAMS key [key ...] id [id ...]", "streams:block=STREAMS(key:key* id:string*)"),
            (
                "<BYRADIUS radius <M | KM> | BYBOX width>",
                "byradius-or-width:oneof(byradius:block=BYRADIUS(radius:double m-or-km:oneof(m:pure-token=M km:pure-token=KM)) width:double=BYBOX)",
            ),
        ];
        for (syntax, tree) in known {
            assert_eq!(parse(syntax).map(|arguments| show(&arguments)).as_deref(), Some(tree), "{syntax}");
        }
        for bad in ["[a", "a]", "<a | b", "[]", "..."] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_row_is_spelled_so() {
        for row in table::all() {
            assert!(parse(row.command.syntax).is_some(), "{}: {}", row.command.name, row.command.syntax);
        }
    }
}
