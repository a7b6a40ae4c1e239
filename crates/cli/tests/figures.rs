//! Figures come out whole on a machine without fonts, as PNG and as SVG.

use cli::plots::{
    ColumnGroup, Content, Densities, Histogram, LossCurve, Palette, Panel, Point, ReferenceLine, Series, Stacked,
    Tiles, png, save_both, svg,
};

fn pixels(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width as usize, info.height as usize, pixels)
}

fn curve() -> LossCurve {
    LossCurve {
        title: "Free energy".to_owned(),
        x_label: "step".to_owned(),
        y_label: "per site".to_owned(),
        training: (0..100).map(|k| Point { x: k as f64, mean: -2.0, error: 0.01 }).collect(),
        smoothing: 10,
        references: vec![ReferenceLine { label: "exact".to_owned(), value: -2.3159 }],
        ..LossCurve::default()
    }
}

#[test]
fn the_loss_curve_shows_its_exact_line_and_its_words() {
    let (width, height, pixels) = pixels(&png(&curve()).unwrap());
    assert_eq!((width, height), (1800, 1080));
    let rows_of_red = (0..height).filter(|y| {
        let row = &pixels[y * width * 3..(y + 1) * width * 3];
        row.chunks(3).filter(|p| p == &[200, 60, 60]).count() > width / 2
    });
    let rows: Vec<usize> = rows_of_red.collect();
    assert!(!rows.is_empty() && rows.len() < 8, "{rows:?}");
    let text = svg(&curve()).unwrap();
    for words in ["Free energy", "step", "per site", "exact −2.3159", "standard error"] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn curves_stand_one_below_the_other_each_with_its_own_words() {
    let first = LossCurve { title: "Flow matching".to_owned(), references: Vec::new(), ..curve() };
    let two = Stacked(vec![first, curve()]);
    let (width, height, _) = pixels(&png(&two).unwrap());
    assert_eq!((width, height), (1800, 2160));
    let text = svg(&two).unwrap();
    // Height at which words are written.
    let place = |words: &str| -> f64 {
        let before = text.split(words).next().filter(|before| before.len() < text.len()).expect("the words are there");
        let y = before.rsplit(" y=\"").next().unwrap();
        y[..y.find('"').unwrap()].parse().unwrap()
    };
    assert!(place("Flow matching") < 100.0, "{}", place("Flow matching"));
    assert!((540.0..640.0).contains(&place("Free energy")), "{}", place("Free energy"));
    assert!((640.0..1080.0).contains(&place("exact −2.3159")), "{}", place("exact −2.3159"));
    png(&Stacked::<LossCurve>::default()).unwrap();
}

#[test]
fn figures_without_data_are_still_figures() {
    png(&LossCurve::default()).unwrap();
    png(&LossCurve { training: vec![Point { x: 1.0, mean: f64::NAN, error: f64::NAN }], ..curve() }).unwrap();
    png(&LossCurve { training: vec![Point { x: 1.0, mean: -2.0, error: 0.0 }], ..LossCurve::default() }).unwrap();
    let tiles = Tiles {
        title: String::new(),
        note: String::new(),
        groups: vec![ColumnGroup::plain(3)],
        height: 4,
        width: 4,
        pictures: Vec::new(),
        palette: Palette::Grey,
    };
    png(&tiles).unwrap();
    let values = vec![f64::NAN, 1.0];
    let series = vec![Series { values, weights: vec![1.0, f64::INFINITY], ..Series::default() }];
    png(&Histogram { series, ..Histogram::default() }).unwrap();
    png(&Stacked(vec![Histogram::default(); 2])).unwrap();
    png(&Stacked::<Histogram>::default()).unwrap();
    let content = Content::LogDensity { side: 2, values: vec![f64::NEG_INFINITY; 4] };
    let panels = vec![
        Panel { title: String::new(), content },
        Panel { title: String::new(), content: Content::Samples(vec![(f64::NAN, 0.0)]) },
    ];
    let range = (-1.0, 1.0);
    png(&Densities { title: String::new(), x_range: range, y_range: range, panels }).unwrap();
}

#[test]
fn both_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    save_both(&curve(), folder.path(), "loss").unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["loss.png", "loss.svg"]);
}
