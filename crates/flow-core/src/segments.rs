//! A span of time cut at the boundaries of the segments of a flow.

use crate::integrate::Span;

/// A part of the way within one segment of a flow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    /// Which segment; none of a flow that has one alone.
    pub segment: Option<usize>,
    pub span: Span,
    /// The boundary that is crossed behind it, from 0.
    pub crossed: Option<usize>,
}

/// A span cut at the boundaries of segments. A boundary belongs to the span that ends there when it leads forward, and
/// to the one that starts there when it leads backward: spans that follow each other cross it once, and likewise back.
/// Where nothing is passed nothing is crossed.
pub(crate) fn pieces(boundaries: &[f64], span: Span) -> Vec<Piece> {
    // A fraction of the whole time may miss a boundary by its rounding.
    let snapped = |t: f64| {
        let near = boundaries.iter().find(|boundary| (t - **boundary).abs() <= 8.0 * f64::EPSILON * boundary.abs());
        near.copied().unwrap_or(t)
    };
    let span = Span { from: snapped(span.from), to: snapped(span.to) };
    if span.from == span.to {
        let segment = boundaries.iter().filter(|t| **t <= span.from).count();
        return vec![Piece { segment: (!boundaries.is_empty()).then_some(segment), span, crossed: None }];
    }
    let forward = span.to >= span.from;
    let [low, high] = if forward { [span.from, span.to] } else { [span.to, span.from] };
    let crossed = || boundaries.iter().enumerate().filter(|(_, t)| low < **t && **t <= high);
    let segment = boundaries.iter().filter(|t| **t <= low).count();
    let ends = std::iter::once(low).chain(crossed().map(|(_, t)| *t)).chain([high]).collect::<Vec<_>>();
    let mut pieces: Vec<Piece> = Vec::with_capacity(ends.len() - 1);
    for (i, ends) in ends.windows(2).enumerate() {
        let k = segment + i;
        let (span, crossed) = match forward {
            true => (Span { from: ends[0], to: ends[1] }, (k < segment + crossed().count()).then_some(k)),
            false => (Span { from: ends[1], to: ends[0] }, (k > segment).then(|| k - 1)),
        };
        // Nothing is left to do behind a boundary where the span ends.
        if span.from != span.to || crossed.is_some() {
            pieces.push(Piece { segment: (!boundaries.is_empty()).then_some(k), span, crossed });
        }
    }
    if !forward {
        pieces.reverse();
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_follow_each_other_cross_every_boundary_once() {
        let boundaries = [1.0, 2.0];
        let crossed = |stops: &[f64]| -> Vec<(usize, usize)> {
            let spans = stops.windows(2).map(|ends| Span { from: ends[0], to: ends[1] });
            let of = |piece: Piece| Some((piece.segment?, piece.crossed?));
            spans.flat_map(|span| pieces(&boundaries, span)).filter_map(of).collect()
        };
        for stops in [&[0.0, 3.0][..], &[0.0, 1.0, 2.0, 3.0], &[0.0, 0.5, 2.0, 2.5, 3.0]] {
            assert_eq!(crossed(stops), [(0, 0), (1, 1)], "{stops:?}");
            let back: Vec<f64> = stops.iter().rev().copied().collect();
            assert_eq!(crossed(&back), [(2, 1), (1, 0)], "{back:?}");
        }
        let whole = pieces(&boundaries, Span { from: 3.0, to: 0.0 });
        let spans: Vec<_> = whole.iter().map(|piece| (piece.span.from, piece.span.to)).collect();
        assert_eq!(spans, [(3.0, 2.0), (2.0, 1.0), (1.0, 0.0)]);
        let alone = Span { from: 0.0, to: 3.0 };
        assert_eq!(pieces(&[], alone), [Piece { segment: None, span: alone, crossed: None }]);
        // A point that stays where it is crosses nothing, on a boundary or off it.
        for (t, segment) in [(0.5, 0), (1.0, 1), (2.5, 2)] {
            let still = Span { from: t, to: t };
            assert_eq!(pieces(&boundaries, still), [Piece { segment: Some(segment), span: still, crossed: None }]);
        }
        // Ends that miss a boundary by round-off are at it.
        let near = pieces(&boundaries, Span { from: 0.0, to: 1.0_f64.next_up() });
        assert_eq!(near, [Piece { segment: Some(0), span: Span { from: 0.0, to: 1.0 }, crossed: Some(0) }]);
    }
}
