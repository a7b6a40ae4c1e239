//! Losses and shares of the gradient of all blocks, of all members of a team: put together in the order of the blocks.

use crate::error::Error;
use crate::evaluation::Outcome;
use crate::potential::{Field, Share};
use crate::space::Space;
use crate::team::{Team, agreed};

/// Losses of rows, of a block or of all, and, where asked for, their share of the gradient.
pub(crate) type BlockResult<S> = Result<(Vec<f64>, Option<Vec<Share<S>>>), Error>;

/// The losses of all rows in their order, and the gradient from the sum of the blocks' shares.
pub(crate) fn gather<S: Space>(
    space: &S,
    field: &dyn Field<S>,
    blocks: Vec<BlockResult<S>>,
    team: &dyn Team,
) -> Result<Outcome<S>, Error> {
    let (losses, sums) = gather_shares(space, blocks, team)?;
    Ok(Outcome { losses, gradient: sums.map(|sums| field.gradient(sums)), moments: Vec::new() })
}

/// The losses of all rows in their order, and the sum of the blocks' shares where there are any.
pub(crate) fn gather_shares<S: Space>(space: &S, blocks: Vec<BlockResult<S>>, team: &dyn Team) -> BlockResult<S> {
    let (mut losses, mut shares) = (Vec::new(), Vec::new());
    for (of_block, share) in agreed(team, blocks.into_iter().collect::<Result<Vec<_>, _>>())? {
        losses.extend(of_block);
        shares.extend(share);
    }
    let losses = team.gather(&losses)?;
    if shares.is_empty() {
        return Ok((losses, None));
    }
    let sums = if team.size() == 1 { sum(space, shares) } else { sum_of_team(space, shares, team)? };
    Ok((losses, Some(sums)))
}

/// The sum of blocks' shares, in the order of the blocks.
fn sum<S: Space>(space: &S, shares: Vec<Vec<Share<S>>>) -> Vec<Share<S>> {
    let add = |mut sums: Vec<Share<S>>, later: Vec<Share<S>>| {
        sums.iter_mut().zip(later).for_each(|(sum, later)| sum.add(space, later));
        sums
    };
    shares.into_iter().reduce(add).unwrap_or_default()
}

/// The same over the blocks of all members: numbers go by way of the host. One exchange has all sums and another all
/// factors, because an exchange takes long however little goes.
fn sum_of_team<S: Space>(space: &S, shares: Vec<Vec<Share<S>>>, team: &dyn Team) -> Result<Vec<Share<S>>, Error> {
    // Of every block the same places have sums: that is a matter of the field.
    let sums_of =
        |share: &Vec<Share<S>>| share.iter().flat_map(|share| &share.sum).flat_map(|sum| space.download(sum)).collect();
    let sums = team.sum(&shares.iter().map(sums_of).collect::<Vec<_>>(), space.precision())?;
    let mut factors = factors_of_team(space, &shares, team)?.into_iter();
    let mut rest = &sums[..];
    let places = shares.into_iter().next().unwrap_or_default();
    let share = |share: Share<S>| {
        let sum = share.sum.map(|sum| {
            let (rows, cols) = space.shape(&sum);
            let (numbers, behind) = rest.split_at(rows * cols);
            rest = behind;
            space.upload(rows, cols, numbers)
        });
        Share { sum, factors: factors.next().unwrap_or_default() }
    };
    Ok(places.into_iter().map(share).collect())
}

/// Left and right factors.
type Factors<S> = Vec<(<S as Space>::Array, <S as Space>::Array)>;

/// The factors of the blocks of all members, in the order of the blocks, for every place of a share.
fn factors_of_team<S: Space>(space: &S, shares: &[Vec<Share<S>>], team: &dyn Team) -> Result<Vec<Factors<S>>, Error> {
    let mut mine = Vec::new();
    for (place, share) in shares.iter().flat_map(|of_block| of_block.iter().enumerate()) {
        for factor in share.factors.iter().flat_map(|(left, right)| [left, right]) {
            let (rows, cols) = space.shape(factor);
            mine.extend([place, rows, cols].map(|number| number as f64));
            mine.extend(space.download(factor));
        }
    }
    let all = team.gather(&mine)?;
    let mut found: Vec<Vec<S::Array>> =
        shares.first().map_or_else(Vec::new, |share| share.iter().map(|_| Vec::new()).collect());
    let mut rest = &all[..];
    while let [place, rows, cols, numbers @ ..] = rest {
        let (place, rows, cols) = (*place as usize, *rows as usize, *cols as usize);
        let (of_factor, behind) = numbers.split_at(rows * cols);
        found[place].push(space.upload(rows, cols, of_factor));
        rest = behind;
    }
    let pairs = |factors: Vec<S::Array>| {
        let mut factors = factors.into_iter();
        std::iter::from_fn(|| Some((factors.next()?, factors.next()?))).collect()
    };
    Ok(found.into_iter().map(pairs).collect())
}
