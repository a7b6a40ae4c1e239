//! What the source of the schema says of types: fields and words with their documentation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// Where the types of recipes are; a name is that of the first file that has it.
const FILES: [&str; 17] = [
    "recipe/src/schema.rs",
    "recipe/src/schema/target.rs",
    "recipe/src/schema/particles.rs",
    "recipe/src/schema/model.rs",
    "recipe/src/schema/potential.rs",
    "recipe/src/schema/method.rs",
    "recipe/src/schema/scale.rs",
    "recipe/src/backend.rs",
    "flow-core/src/optimise.rs",
    "flow-core/src/objective.rs",
    "flow-core/src/integrate.rs",
    "flow-core/src/potential.rs",
    "flow-core/src/symmetry.rs",
    "flow-core/src/activation.rs",
    "flow-core/src/time.rs",
    "datasets/src/columns/regression.rs",
    "datasets/src/lattice/geometry.rs",
];

/// A field of a struct.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, which is the key.
    pub name: String,
    /// Its type without `Option`, as it is written.
    pub kind: String,
    /// Whether it is an `Option`.
    pub optional: bool,
    /// Its documentation in one line.
    pub doc: String,
}

/// A variant of an enum.
#[derive(Debug, Clone)]
pub struct Word {
    /// Its word in recipes.
    pub word: String,
    /// The type that it holds, if any.
    pub holds: Option<String>,
    /// Its documentation in one line.
    pub doc: String,
}

/// All structs and enums of the schema.
#[derive(Debug, Default)]
pub struct Source {
    structs: BTreeMap<String, (String, Vec<Field>)>,
    enums: BTreeMap<String, Vec<Word>>,
}

impl Source {
    /// Reads the files.
    pub fn read() -> Self {
        let mut source = Self::default();
        for file in FILES {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for item in syn::parse_file(&text).unwrap().items {
                source.take(item);
            }
        }
        source
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Struct(of) => {
                let Fields::Named(fields) = of.fields else { return };
                let fields = fields.named.iter().map(|field| Field {
                    name: field.ident.as_ref().expect("named fields have names").to_string(),
                    kind: type_text(&field.ty),
                    optional: is_option(&field.ty),
                    doc: doc(&field.attrs),
                });
                self.structs.entry(of.ident.to_string()).or_insert((doc(&of.attrs), fields.collect()));
            }
            Item::Enum(of) => {
                let words = of.variants.iter().map(|variant| Word {
                    word: renamed(&variant.attrs).unwrap_or_else(|| kebab(&variant.ident.to_string())),
                    holds: variant.fields.iter().next().map(|field| type_text(&field.ty)),
                    doc: doc(&variant.attrs),
                });
                self.enums.entry(of.ident.to_string()).or_insert(words.collect());
            }
            _ => {}
        }
    }

    /// The documentation and the fields of a struct.
    pub fn fields(&self, name: &str) -> (&str, &[Field]) {
        let (doc, fields) = self.structs.get(name).unwrap_or_else(|| panic!("no struct {name} in the schema"));
        (doc, fields)
    }

    /// The words of an enum.
    pub fn words(&self, name: &str) -> Option<&[Word]> {
        self.enums.get(name).map(Vec::as_slice)
    }
}

fn is_option(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

/// A type as it is written, without `Option` around it.
fn type_text(of: &Type) -> String {
    let path = match of {
        Type::Path(path) => path,
        Type::Array(array) => return format!("[{}; 2]", type_text(&array.elem)),
        // References and the like: no recipe has them.
        _ => return String::new(),
    };
    let last = path.path.segments.last().expect("a path has a part");
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.first(),
        _ => None,
    };
    match inner {
        Some(GenericArgument::Type(inner)) if last.ident == "Option" => type_text(inner),
        Some(GenericArgument::Type(inner)) => format!("{}<{}>", last.ident, type_text(inner)),
        _ => last.ident.to_string(),
    }
}

/// The documentation in one line, without the links of Rust.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(text) => match &text.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attributes.iter().filter_map(line).collect();
    // An example in Rust is for readers of Rust.
    unlinked(&lines.split(|line| line == "```").next().unwrap_or_default().join(" "))
}

/// Text without the links of Rust's documentation: `[words](path)` are words, and so is a word in brackets.
fn unlinked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(middle) = rest.find("](") {
        let (before, after) = rest.split_at(middle);
        let start = before.rfind('[').expect("a link begins");
        out += &before[..start];
        out += &before[start + 1..];
        rest = after.split_once(')').expect("a link ends").1;
    }
    (out + rest).replace("[`", "`").replace("`]", "`").replace("flow_core::", "").replace("  ", " ").trim().to_owned()
}

/// The word of `#[serde(rename = "word")]`.
fn renamed(attributes: &[Attribute]) -> Option<String> {
    let mut word = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                if meta.path.is_ident("rename") {
                    word = Some(meta.value()?.parse::<syn::LitStr>()?.value());
                }
                Ok(())
            })
            .expect("an attribute of a word is a name alone");
    }
    word
}

/// `TwoLayer` as `two-layer`, as serde has it.
fn kebab(name: &str) -> String {
    let mut word = String::new();
    for (i, letter) in name.char_indices() {
        if letter.is_uppercase() && i > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}
