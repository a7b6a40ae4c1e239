//! A run as one HTML file that needs no other: figures, pictures and settings.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What the page shows.
#[derive(Debug)]
pub struct Page {
    /// Name of the run's recipe.
    pub title: String,
    /// Sentences below it.
    pub about: Vec<String>,
    /// Names of figures with their values. A line without a name belongs to the one before.
    pub figures: Vec<(String, String)>,
    /// The same for programs.
    pub json: String,
    /// Pictures in their order.
    pub pictures: Vec<Picture>,
    /// The resolved recipe, as TOML.
    pub settings: String,
}

/// A picture of the page.
#[derive(Debug)]
pub struct Picture {
    /// What it shows.
    pub caption: String,
    /// A PNG file.
    pub png: Vec<u8>,
}

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0.2rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 0.15rem 1.5rem 0.15rem 0; }
th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: white; }
figcaption { opacity: 0.7; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid #8884; border-radius: 6px; font-size: 0.85rem; }";

impl Page {
    /// The whole file.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let about: String = self.about.iter().map(|sentence| format!("<p>{}</p>\n", escaped(sentence))).collect();
        let rows = self.figures.iter().map(|(name, value)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
        });
        let (rows, mut pictures) = (rows.collect::<String>(), String::new());
        for Picture { caption, png } in &self.pictures {
            let (caption, data) = (escaped(caption), STANDARD.encode(png));
            writeln!(
                pictures,
                "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\">\
                 <figcaption>{caption}</figcaption></figure>"
            )
            .expect("a string takes all");
        }
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{title}</h1>\n{about}\
             <h2>Figures</h2>\n<table>\n{rows}</table>\n\
             <details><summary>as JSON</summary><pre>{json}</pre></details>\n\
             <h2>Pictures</h2>\n{pictures}\
             <h2>Settings</h2>\n<pre>{settings}</pre>\n</body>\n</html>\n",
            json = escaped(&self.json),
            settings = escaped(self.settings.trim_end()),
        )
    }
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_there_as_text() {
        let page = Page {
            title: "a <b> & c".to_owned(),
            about: vec!["of \"rows\"".to_owned()],
            figures: vec![("gap".to_owned(), "0.1 nats".to_owned())],
            json: "{\"a\":1}".to_owned(),
            pictures: vec![Picture { caption: "loss".to_owned(), png: vec![1, 2, 3] }],
            settings: "[train]\nsteps = 3\n".to_owned(),
        };
        let html = page.html();
        for part in [
            "<title>a &lt;b&gt; &amp; c</title>",
            "<p>of &quot;rows&quot;</p>",
            "<th scope=\"row\">gap</th><td>0.1 nats</td>",
            "{&quot;a&quot;:1}",
            "<img alt=\"loss\" src=\"data:image/png;base64,AQID\">",
            "<pre>[train]\nsteps = 3</pre>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("src=\"http") && !html.contains("href"), "it needs no other file");
    }
}
