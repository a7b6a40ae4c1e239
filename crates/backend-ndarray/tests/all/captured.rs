//! Captured solves, on any machine: the CPU as a device that records what it is asked for and does it again.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use backend_ndarray::Cpu;
use flow_core::conformance::captured;
use flow_core::{
    Activation, Adaptive, Batch, Block, BlockField, CacheKey, Coordinates, Error, Evaluation, Factor, Field, FixedStep,
    Flow, FreeEnergy, GraphCache, Group, Integrator, Method, Motion, NegativeLogLikelihood, Objective, Outputs,
    Parameter, PointEnergy, Potential, Precision, Pullback, Purpose, Quotient, RngKey, Session, Share, Solve, Space,
    Stage, Sum, Symmetrised, SymmetryDraw, new_cache_key,
};

const ROWS: usize = 6;
const DIM: usize = 4;

#[test]
fn replayed_solves_are_those_asked_for_operation_by_operation() {
    type Make<'a> = &'a dyn Fn(&Taped) -> Box<dyn Potential<Taped>>;
    let makes: [Make; 4] = [
        &|on| Box::new(Cubic::new(on)),
        &|on| Box::new(turned(on, SymmetryDraw::PerSolve)),
        &|on| Box::new(turned(on, SymmetryDraw::PerStage)),
        // What its terms draw are inputs too.
        &|on| {
            let terms: Vec<(String, Box<dyn Potential<Taped>>)> = vec![
                ("turned".into(), Box::new(turned(on, SymmetryDraw::PerSolve))),
                ("plain".into(), Box::new(Cubic::new(on))),
                ("turned again".into(), Box::new(turned(on, SymmetryDraw::PerStage))),
            ];
            Box::new(Sum::new(on.clone(), terms).unwrap())
        },
    ];
    for make in makes {
        for coordinates in [Coordinates::X, Coordinates::Feature] {
            let (on, plain) = (Taped::capturing(), Taped::plain());
            captured((&on, &mut *make(&on)), (&plain, &mut *make(&plain)), coordinates, ROWS);
        }
    }
}

#[test]
fn what_differs_is_not_repeated() {
    let on = Taped::capturing();
    let (one, other) = (Cubic::new(&on), Cubic::new(&on));
    let steps = |n| FixedStep::new(Method::Midpoint.tableau(), n).unwrap();
    let (coarse, fine) = (steps(2), steps(3));
    let adaptive = Adaptive::new(Method::Tsit5.tableau(), 1e-3, 1e-3, 100).unwrap();
    let kinds: [(&Cubic, &dyn Integrator<Taped>, f64); 4] =
        [(&one, &coarse, 0.5), (&other, &coarse, 0.5), (&one, &fine, 0.5), (&one, &coarse, 0.6)];
    let work = || one.work.load(Ordering::Relaxed) + other.work.load(Ordering::Relaxed);
    let solve = |(potential, integrator, duration): (&Cubic, _, _)| {
        likelihood(&on, potential, integrator, duration);
    };
    // Twice each: seen, then captured.
    kinds.into_iter().chain(kinds).for_each(solve);
    assert_eq!(on.replays(), 0);
    let before = work();
    kinds.into_iter().for_each(solve);
    assert_eq!(on.replays(), kinds.len() as u64);
    assert_eq!(work(), before, "a replay asked the potential for something");
    (0..4).for_each(|_| solve((&one, &adaptive, 0.5)));
    assert_eq!(on.replays(), kinds.len() as u64, "steps that are chosen on the way");
    assert!(work() > before, "an ordinary solve asks the potential");
    let replays = on.replays();
    let mut moved = one;
    moved.a.value = on.upload(ROWS, DIM, &[0.1; ROWS * DIM]);
    likelihood(&on, &moved, &coarse, 0.5);
    assert_eq!(on.replays(), replays, "parameters that lie elsewhere");
}

#[test]
fn a_session_that_ends_in_an_error_leaves_nothing() {
    let (on, plain) = (Taped::capturing(), Taped::plain());
    let integrator = FixedStep::new(Method::Midpoint.tableau(), 2).unwrap();
    // Losses and gradient of the n-th batch, unless the energy fails.
    let evaluate = |on: &Taped, potential: &Cubic, batch: u64, fails: bool| {
        let energy = PointEnergy::new(DIM, move |x, gradient| {
            gradient.copy_from_slice(x);
            if fails {
                Err(Error::Callback("no energy".into()))
            } else {
                Ok(0.5 * x.iter().map(|x| x * x).sum::<f64>())
            }
        });
        let key = RngKey::new(7, Purpose::Evaluate, batch);
        let batch = Batch::new(key.normals(0..ROWS, DIM), DIM).unwrap();
        let flow = Flow { duration: 0.5, ..Flow::new(on, potential, &integrator) };
        let outcome = FreeEnergy::new(energy).evaluate(&flow, &batch, &Evaluation::new(key).with_gradient())?;
        let gradient = outcome.gradient.expect("asked for");
        Ok::<_, Error>((outcome.losses, on.download(&gradient[0])))
    };
    let (potential, reference) = (Cubic::new(&on), Cubic::new(&plain));
    // Seen, two captures of which one fails, a replay, one that fails, and the solves after it.
    for (batch, fails, replays) in
        [(0, false, 0), (1, true, 0), (2, false, 0), (3, false, 1), (4, true, 1), (5, false, 1), (6, false, 2)]
    {
        let found = evaluate(&on, &potential, batch, fails);
        match fails {
            true => assert_eq!(found.unwrap_err().to_string(), "no energy"),
            false => assert_eq!(found.unwrap(), evaluate(&plain, &reference, batch, false).unwrap(), "batch {batch}"),
        }
        assert_eq!(on.replays(), replays, "after batch {batch}");
    }
}

fn likelihood(on: &Taped, potential: &Cubic, integrator: &dyn Integrator<Taped>, duration: f64) {
    let flow = Flow { duration, ..Flow::new(on, potential, integrator) };
    let key = RngKey::new(7, Purpose::Evaluate, 0);
    let batch = Batch::new(key.normals(0..ROWS, DIM), DIM).unwrap();
    let outcome = NegativeLogLikelihood::default().evaluate(&flow, &batch, &Evaluation::new(key));
    assert!(outcome.unwrap().losses.iter().all(|loss| loss.is_finite()));
}

/// Cyclic shifts and the reflection x → −x.
fn shifts() -> Group {
    let shift = |s| (0..DIM as u32).map(|i| (i + s) % DIM as u32).collect();
    Group::new((0..DIM as u32).map(shift).collect(), vec![1.0; DIM]).unwrap().with_reflection()
}

fn turned(on: &Taped, draw: SymmetryDraw) -> Symmetrised<Taped, Cubic> {
    Symmetrised::new(on.clone(), Cubic::new(on), shifts(), draw).unwrap()
}

/// `φ(x, t) = Σ_i a_i x_i² / 2 + κ(t) x_i³ / 3` with the parameters a, made of the operations of a space alone. Every
/// row of the batch has an a of its own, so that these are products of equal shapes.
#[derive(Debug)]
struct Cubic {
    on: Taped,
    ones: Taken<Matrix>,
    a: Parameter<Taped>,
    cache_key: u64,
    /// Whatever it was asked for so far.
    work: AtomicU64,
}

impl Cubic {
    fn new(on: &Taped) -> Self {
        let values: Vec<f64> = (0..ROWS * DIM).map(|i| 0.3 * (i as f64).sin()).collect();
        let a = Parameter { name: "a".into(), shape: vec![ROWS, DIM], value: on.upload(ROWS, DIM, &values) };
        let (ones, work) = (on.upload(ROWS, DIM, &[1.0; ROWS * DIM]), AtomicU64::new(0));
        Self { ones, on: on.clone(), a, cache_key: new_cache_key(), work }
    }
}

fn kappa(stage: Stage) -> f64 {
    0.1 * (1.0 + stage.t)
}

impl Potential<Taped> for Cubic {
    fn dim(&self) -> usize {
        DIM
    }

    fn parameters(&self) -> Vec<&Parameter<Taped>> {
        vec![&self.a]
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter<Taped>> {
        vec![&mut self.a]
    }

    fn freeze(&self, _solve: &Solve) -> Box<dyn Field<Taped> + '_> {
        self.work.fetch_add(1, Ordering::Relaxed);
        Box::new(self)
    }

    fn cache_key(&self) -> Option<u64> {
        Some(self.cache_key)
    }
}

impl Field<Taped> for &Cubic {
    fn enter(&self, block: Block<Taped>) -> (Box<dyn BlockField<Taped> + '_>, Taken<Matrix>) {
        assert_eq!(block.rows, 0..ROWS);
        (Box::new(CubicRows { of: self, share: self.on.zeros(ROWS, DIM) }), block.x)
    }

    fn value(&self, _stage: Stage, _block: Block<Taped>) -> Taken<Figures> {
        unreachable!("no solve asks for it");
    }

    fn gradient(&self, sums: Vec<Share<Taped>>) -> Vec<Taken<Matrix>> {
        sums.into_iter().map(Share::into_sum).collect()
    }
}

struct CubicRows<'a> {
    of: &'a Cubic,
    share: Taken<Matrix>,
}

impl BlockField<Taped> for CubicRows<'_> {
    fn evaluate(
        &mut self,
        stage: Stage,
        x: &Taken<Matrix>,
        Motion { velocity, laplacian, residuals }: Motion<'_, Taped>,
    ) {
        let Cubic { on, ones, a, work, .. } = self.of;
        work.fetch_add(1, Ordering::Relaxed);
        on.accumulate_product(velocity, 0.0, 1.0, &a.value, x);
        on.accumulate_product(velocity, 1.0, kappa(stage), x, x);
        let mut curvature = on.empty_like(x);
        on.combine(&mut curvature, &a.value, &[(2.0 * kappa(stage), x)]);
        if let Some(laplacian) = laplacian {
            on.row_dot(laplacian, &curvature, ones);
        }
        residuals.into_iter().for_each(|residuals| residuals.push(curvature.clone()));
    }

    fn pullback(
        &mut self,
        stage: Stage,
        x: &Taken<Matrix>,
        Pullback { residuals, velocity_bar, laplacian_bar, state_bar }: Pullback<'_, Taped>,
    ) {
        let Cubic { on, ones, .. } = self.of;
        on.accumulate_product(&mut self.share, 1.0, 1.0, x, velocity_bar);
        if let Some(laplacian_bar) = laplacian_bar {
            on.accumulate_scaled_rows(&mut self.share, 1.0, laplacian_bar, ones);
        }
        let Some(state_bar) = state_bar else { return };
        on.accumulate_product(state_bar, 0.0, 1.0, &residuals[0], velocity_bar);
        if let Some(laplacian_bar) = laplacian_bar {
            on.accumulate_scaled_rows(state_bar, 2.0 * kappa(stage), laplacian_bar, ones);
        }
    }

    fn enter_pullback(self: Box<Self>, state_bar: Taken<Matrix>) -> (Taken<Matrix>, Vec<Share<Taped>>) {
        (state_bar, vec![Share::of(self.share)])
    }
}

type Matrix = <Cpu<f64> as Space>::Array;
type Figures = <Cpu<f64> as Space>::Column;
type Table = <Cpu<f64> as Space>::Permutations;

/// The CPU, whose arrays are reached through handles, so that an operation can be done again.
#[derive(Clone, Debug)]
struct Taped {
    cpu: Cpu<f64>,
    tape: Tape,
    graphs: Option<Arc<Graphs>>,
}

impl Taped {
    fn plain() -> Self {
        Self { cpu: Cpu::new(1), tape: Tape::default(), graphs: None }
    }

    fn capturing() -> Self {
        Self { graphs: Some(Arc::default()), ..Self::plain() }
    }

    fn replays(&self) -> u64 {
        self.graphs.as_ref().expect("one that captures").replays()
    }

    fn take<T>(&self, value: T) -> Taken<T> {
        Taken { tape: self.tape.clone(), cell: Arc::new(Mutex::new(value)) }
    }

    /// Does an operation that overwrites an array or a column, or remembers it.
    fn change<T: Clone + Send + 'static>(
        &self,
        out: &Taken<T>,
        operation: impl Fn(&Cpu<f64>, &mut T) + Send + Sync + 'static,
    ) {
        let (cpu, out) = (self.cpu.clone(), out.cell.clone());
        self.tape.ask(move || operation(&cpu, &mut out.lock().unwrap()));
    }

    /// The CPU for what waits for numbers or brings them: nothing that can be recorded.
    fn host(&self) -> &Cpu<f64> {
        assert!(self.tape.0.lock().unwrap().is_none(), "the host takes part while a solve is recorded");
        &self.cpu
    }
}

/// What is being recorded.
#[derive(Clone, Debug, Default)]
struct Tape(Arc<Mutex<Option<Vec<Operation>>>>);

/// Something that can be done again.
struct Operation(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("operation")
    }
}

impl Tape {
    /// Like a device that records: it does nothing meanwhile.
    fn ask(&self, operation: impl Fn() + Send + Sync + 'static) {
        match &mut *self.0.lock().unwrap() {
            Some(operations) => operations.push(Operation(Box::new(operation))),
            None => operation(),
        }
    }
}

/// An array or column that operations keep a handle of.
#[derive(Debug)]
struct Taken<T> {
    tape: Tape,
    cell: Arc<Mutex<T>>,
}

impl<T: Clone> Taken<T> {
    fn read(&self) -> T {
        self.cell.lock().unwrap().clone()
    }

    /// Another handle of the same, for an operation.
    fn handle(&self) -> Self {
        Self { tape: self.tape.clone(), cell: self.cell.clone() }
    }
}

fn handles<T: Clone>(terms: &[(f64, &Taken<T>)]) -> Vec<(f64, Taken<T>)> {
    terms.iter().map(|(c, term)| (*c, term.handle())).collect()
}

/// Does something with terms as they are now.
fn with_terms<T: Clone>(terms: &[(f64, Taken<T>)], then: impl FnOnce(&[(f64, &T)])) {
    let read: Vec<_> = terms.iter().map(|(c, term)| (*c, term.read())).collect();
    then(&read.iter().map(|(c, term)| (*c, term)).collect::<Vec<_>>());
}

impl<T: Clone + Send + 'static> Clone for Taken<T> {
    fn clone(&self) -> Self {
        let copy = Self { tape: self.tape.clone(), cell: Arc::new(Mutex::new(self.read())) };
        let (from, to) = (self.handle(), copy.handle());
        self.tape.ask(move || *to.cell.lock().unwrap() = from.read());
        copy
    }
}

impl Space for Taped {
    type Array = Taken<Matrix>;
    type Column = Taken<Figures>;
    type Permutations = Arc<Table>;

    fn precision(&self) -> Precision {
        self.cpu.precision()
    }

    fn zeros(&self, rows: usize, cols: usize) -> Taken<Matrix> {
        // Nobody may rely on what is there before the zeros are.
        let zeros = self.take(self.cpu.upload(rows, cols, &vec![f64::NAN; rows * cols]));
        self.change(&zeros, move |cpu, zeros| *zeros = cpu.zeros(rows, cols));
        zeros
    }

    fn shape(&self, array: &Taken<Matrix>) -> (usize, usize) {
        self.cpu.shape(&array.cell.lock().unwrap())
    }

    fn upload(&self, rows: usize, cols: usize, values: &[f64]) -> Taken<Matrix> {
        self.take(self.host().upload(rows, cols, values))
    }

    fn download(&self, array: &Taken<Matrix>) -> Vec<f64> {
        self.host().download(&array.read())
    }

    fn combine(&self, out: &mut Taken<Matrix>, base: &Taken<Matrix>, terms: &[(f64, &Taken<Matrix>)]) {
        let (base, terms) = (base.handle(), handles(terms));
        self.change(out, move |cpu, out| with_terms(&terms, |terms| cpu.combine(out, &base.read(), terms)));
    }

    fn accumulate(&self, out: &mut Taken<Matrix>, keep: f64, terms: &[(f64, &Taken<Matrix>)]) {
        let terms = handles(terms);
        self.change(out, move |cpu, out| with_terms(&terms, |terms| cpu.accumulate(out, keep, terms)));
    }

    fn accumulate_product(&self, out: &mut Taken<Matrix>, keep: f64, c: f64, a: &Taken<Matrix>, b: &Taken<Matrix>) {
        let (a, b) = (a.handle(), b.handle());
        self.change(out, move |cpu, out| cpu.accumulate_product(out, keep, c, &a.read(), &b.read()));
    }

    fn accumulate_quotient(&self, out: &mut Taken<Matrix>, c: f64, of: Quotient<'_, Taken<Matrix>>) {
        let Quotient { scale, epsilon, .. } = of;
        let (numerator, square) = (of.numerator.handle(), of.square.handle());
        self.change(out, move |cpu, out| {
            let (numerator, square) = (numerator.read(), square.read());
            let of = Quotient { numerator: &numerator, square: &square, scale, epsilon };
            cpu.accumulate_quotient(out, c, of);
        });
    }

    fn accumulate_scaled_rows(&self, out: &mut Taken<Matrix>, c: f64, scale: &Taken<Figures>, a: &Taken<Matrix>) {
        let (scale, a) = (scale.handle(), a.handle());
        self.change(out, move |cpu, out| cpu.accumulate_scaled_rows(out, c, &scale.read(), &a.read()));
    }

    fn row_dot(&self, out: &mut Taken<Figures>, a: &Taken<Matrix>, b: &Taken<Matrix>) {
        let (a, b) = (a.handle(), b.handle());
        self.change(out, move |cpu, out| cpu.row_dot(out, &a.read(), &b.read()));
    }

    fn dot(&self, a: &Taken<Matrix>, b: &Taken<Matrix>) -> f64 {
        self.host().dot(&a.read(), &b.read())
    }

    fn scaled_error(
        &self,
        error: &Taken<Matrix>,
        before: &Taken<Matrix>,
        after: &Taken<Matrix>,
        absolute: f64,
        relative: f64,
    ) -> f64 {
        self.host().scaled_error(&error.read(), &before.read(), &after.read(), absolute, relative)
    }

    fn column_zeros(&self, rows: usize) -> Taken<Figures> {
        let zeros = self.take(self.cpu.upload_column(&vec![f64::NAN; rows]));
        self.change(&zeros, move |cpu, zeros| *zeros = cpu.column_zeros(rows));
        zeros
    }

    fn upload_column(&self, values: &[f64]) -> Taken<Figures> {
        self.take(self.host().upload_column(values))
    }

    fn download_column(&self, column: &Taken<Figures>) -> Vec<f64> {
        self.host().download_column(&column.read())
    }

    fn column_accumulate(&self, out: &mut Taken<Figures>, keep: f64, terms: &[(f64, &Taken<Figures>)]) {
        let terms = handles(terms);
        self.change(out, move |cpu, out| with_terms(&terms, |terms| cpu.column_accumulate(out, keep, terms)));
    }

    fn column_product(&self, out: &mut Taken<Figures>, a: &Taken<Figures>, b: &Taken<Figures>) {
        let (a, b) = (a.clone(), b.clone());
        self.change(out, move |cpu, out| cpu.column_product(out, &a.read(), &b.read()));
    }

    fn permutations(&self, source: &[Vec<u32>], sign: &[f64]) -> Arc<Table> {
        Arc::new(self.host().permutations(source, sign))
    }

    fn permute(&self, x: &Taken<Matrix>, table: &Arc<Table>, elements: &Taken<Matrix>, column: usize) -> Taken<Matrix> {
        let (out, x, table, elements) = (self.empty_like(x), x.handle(), table.clone(), elements.handle());
        self.change(&out, move |cpu, out| *out = cpu.permute(&x.read(), &table, &elements.read(), column));
        out
    }

    fn copy_columns(&self, out: &mut Taken<Matrix>, first: usize, from: &Taken<Matrix>, columns: Range<usize>) {
        let from = from.handle();
        self.change(out, move |cpu, out| cpu.copy_columns(out, first, &from.read(), columns.clone()));
    }

    fn matmul(&self, out: &mut Taken<Matrix>, keep: f64, a: Factor<'_, Taken<Matrix>>, b: Factor<'_, Taken<Matrix>>) {
        // Factors hold references: an operation that lasts holds handles, and which of them is transposed.
        let held = |of: Factor<'_, Taken<Matrix>>| match of {
            Factor::Plain(of) => (of.handle(), false),
            Factor::Transposed(of) => (of.handle(), true),
        };
        fn factor((of, transposed): &(Matrix, bool)) -> Factor<'_, Matrix> {
            if *transposed { Factor::Transposed(of) } else { Factor::Plain(of) }
        }
        let ((a, a_turned), (b, b_turned)) = (held(a), held(b));
        self.change(out, move |cpu, out| {
            let (a, b) = ((a.read(), a_turned), (b.read(), b_turned));
            cpu.matmul(out, keep, factor(&a), factor(&b));
        });
    }

    fn activate(&self, out: &mut Taken<Matrix>, activation: Activation, derivative: u8, a: &Taken<Matrix>) {
        let a = a.handle();
        self.change(out, move |cpu, out| cpu.activate(out, activation, derivative, &a.read()));
    }

    fn accumulate_scaled_columns(
        &self,
        out: &mut Taken<Matrix>,
        keep: f64,
        c: f64,
        a: &Taken<Matrix>,
        row: &Taken<Matrix>,
    ) {
        let (a, row) = (a.handle(), row.handle());
        self.change(out, move |cpu, out| cpu.accumulate_scaled_columns(out, keep, c, &a.read(), &row.read()));
    }

    fn blocks(&self, rows: usize) -> usize {
        rows.min(1)
    }

    fn map_blocks<T: Send>(&self, blocks: Vec<Range<usize>>, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
        blocks.into_iter().map(work).collect()
    }

    fn graphs(&self) -> Option<&dyn GraphCache<Self>> {
        self.graphs.as_deref().map(|graphs| graphs as &dyn GraphCache<Self>)
    }
}

/// The captured graphs of the emulated device: all that ever were, as nobody here is short of memory.
#[derive(Debug, Default)]
struct Graphs {
    known: Mutex<Vec<Known>>,
    replays: AtomicU64,
}

/// A solve that was seen once, or captured and not in use.
#[derive(Debug)]
struct Known {
    key: CacheKey,
    /// Addresses of the parameters.
    parameters: Vec<usize>,
    graph: Option<Graph>,
}

/// What a captured session read, did and left, in its order.
#[derive(Debug, Default)]
struct Graph {
    inputs: Vec<Taken<Matrix>>,
    columns: Vec<Taken<Figures>>,
    stages: Vec<CapturedStage>,
}

#[derive(Debug)]
struct CapturedStage {
    operations: Vec<Operation>,
    outputs: Outputs<Taped>,
}

impl CapturedStage {
    /// Does the operations with what their arrays hold now; the outputs are handles.
    fn replay(&self) -> Outputs<Taped> {
        self.operations.iter().for_each(|operation| operation.0());
        Outputs {
            arrays: self.outputs.arrays.iter().map(Taken::handle).collect(),
            columns: self.outputs.columns.iter().map(Taken::handle).collect(),
        }
    }
}

impl GraphCache<Taped> for Graphs {
    fn session<'a>(
        &'a self,
        on: &Taped,
        key: CacheKey,
        parameters: &[&Taken<Matrix>],
    ) -> Option<Box<dyn Session<Taped> + 'a>> {
        let parameters: Vec<_> = parameters.iter().map(|p| Arc::as_ptr(&p.cell).addr()).collect();
        let mut known = self.known.lock().unwrap();
        let Some(place) = known.iter().position(|known| (&known.key, &known.parameters) == (&key, &parameters)) else {
            known.push(Known { key, parameters, graph: None });
            return None;
        };
        // A graph is with its session meanwhile, which brings it back when it is finished.
        let on = on.clone();
        Some(match known[place].graph.take() {
            None => Box::new(Capture { graphs: self, on, place, graph: Graph::default() }),
            Some(graph) => Box::new(Replay { graphs: self, on, place, graph, inputs: 0, columns: 0, stages: 0 }),
        })
    }

    fn replays(&self) -> u64 {
        self.replays.load(Ordering::Relaxed)
    }
}

struct Capture<'a> {
    graphs: &'a Graphs,
    on: Taped,
    place: usize,
    graph: Graph,
}

impl Session<Taped> for Capture<'_> {
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> Taken<Matrix> {
        let input = self.on.upload(rows, cols, values);
        self.graph.inputs.push(input.handle());
        input
    }

    fn input_column(&mut self, values: &[f64]) -> Taken<Figures> {
        let input = self.on.upload_column(values);
        self.graph.columns.push(input.handle());
        input
    }

    fn stage(&mut self, work: &mut dyn FnMut() -> Result<Outputs<Taped>, Error>) -> Result<Outputs<Taped>, Error> {
        let tape = &self.on.tape.0;
        assert!(tape.lock().unwrap().replace(Vec::new()).is_none(), "two captures at a time");
        let outputs = work();
        let operations = tape.lock().unwrap().take().expect("this capture");
        let stage = CapturedStage { operations, outputs: outputs? };
        let outputs = stage.replay();
        self.graph.stages.push(stage);
        Ok(outputs)
    }

    fn finish(self: Box<Self>) {
        self.graphs.known.lock().unwrap()[self.place].graph = Some(self.graph);
    }
}

struct Replay<'a> {
    graphs: &'a Graphs,
    on: Taped,
    place: usize,
    graph: Graph,
    /// How many of each were asked for.
    inputs: usize,
    columns: usize,
    stages: usize,
}

impl Session<Taped> for Replay<'_> {
    fn input(&mut self, rows: usize, cols: usize, values: &[f64]) -> Taken<Matrix> {
        let input = self.graph.inputs[self.inputs].handle();
        self.inputs += 1;
        assert_eq!(self.on.shape(&input), (rows, cols), "an input of another shape than the captured one");
        *input.cell.lock().unwrap() = self.on.host().upload(rows, cols, values);
        input
    }

    fn input_column(&mut self, values: &[f64]) -> Taken<Figures> {
        let input = self.graph.columns[self.columns].handle();
        self.columns += 1;
        assert_eq!(input.read().len(), values.len(), "an input of another length than the captured one");
        *input.cell.lock().unwrap() = self.on.host().upload_column(values);
        input
    }

    fn stage(&mut self, _work: &mut dyn FnMut() -> Result<Outputs<Taped>, Error>) -> Result<Outputs<Taped>, Error> {
        self.stages += 1;
        Ok(self.graph.stages[self.stages - 1].replay())
    }

    fn finish(self: Box<Self>) {
        let Self { graphs, place, graph, inputs, columns, stages, .. } = *self;
        let captured = (graph.inputs.len(), graph.columns.len(), graph.stages.len());
        assert_eq!((inputs, columns, stages), captured, "calls of a session against the captured ones");
        graphs.replays.fetch_add(1, Ordering::Relaxed);
        graphs.known.lock().unwrap()[place].graph = Some(graph);
    }
}
