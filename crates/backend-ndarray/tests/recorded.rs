//! Recordings of solves, on any machine: the CPU as a device that records what it is asked for and does it again.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use backend_ndarray::Cpu;
use flow_core::conformance::recorded;
use flow_core::{
    Adaptive, BlockField, Coordinates, Field, FixedStep, Flow, Group, Integrator, Memory, Method,
    NegativeLogLikelihood, Objective, Parameter, Potential, Precision, Purpose, Record, Recorder, Repeat, Residuals,
    RngKey, Solve, Space, Stage, Symmetrised, SymmetryDraw, new_cache_key,
};

const ROWS: usize = 6;
const DIM: usize = 4;

#[test]
fn repeated_solves_are_those_asked_for_operation_by_operation() {
    let turned = |on: &Taped, draw| Symmetrised::new(on.clone(), Cubic::new(on), shifts(), draw).unwrap();
    type Make<'a> = &'a dyn Fn(&Taped) -> Box<dyn Potential<Taped>>;
    let makes: [Make; 3] =
        [&|on| Box::new(Cubic::new(on)), &|on| Box::new(turned(on, SymmetryDraw::PerSolve)), &|on| {
            Box::new(turned(on, SymmetryDraw::PerStage))
        }];
    for make in makes {
        for coordinates in [Coordinates::X, Coordinates::Feature] {
            let (on, plain) = (Taped::recording(), Taped::plain());
            recorded((&on, &mut *make(&on)), (&plain, &mut *make(&plain)), coordinates, ROWS);
        }
    }
}

#[test]
fn what_differs_is_not_repeated() {
    let on = Taped::recording();
    let (one, other) = (Cubic::new(&on), Cubic::new(&on));
    let steps = |n| FixedStep::new(Method::Midpoint.tableau(), n).unwrap();
    let (coarse, fine) = (steps(2), steps(3));
    let adaptive = Adaptive::new(Method::Tsit5.tableau(), 1e-3, 1e-3, 100).unwrap();
    let kinds: [(&Cubic, &dyn Integrator<Taped>, f64); 4] =
        [(&one, &coarse, 0.5), (&other, &coarse, 0.5), (&one, &fine, 0.5), (&one, &coarse, 0.6)];
    let repeated = || on.recorder().unwrap().repeated();
    let solve = |(potential, integrator, duration): (&Cubic, _, _)| {
        likelihood(&on, potential, integrator, duration, false);
    };
    // Twice each: seen, then recorded.
    kinds.into_iter().chain(kinds).for_each(solve);
    assert_eq!(repeated(), 0);
    kinds.into_iter().for_each(solve);
    assert_eq!(repeated(), kinds.len() as u64);
    (0..4).for_each(|_| solve((&one, &adaptive, 0.5)));
    assert_eq!(repeated(), kinds.len() as u64, "steps that are chosen on the way");
}

#[test]
fn the_solves_that_were_used_last_are_kept() {
    let on = Taped::recording();
    let most = Recorder::<Taped>::MOST;
    let potentials: Vec<_> = (0..=most).map(|_| Cubic::new(&on)).collect();
    let integrator = FixedStep::new(Method::Euler.tableau(), 1).unwrap();
    let repetitions = |i: usize, gradient| {
        let before = on.recorder().unwrap().repeated();
        likelihood(&on, &potentials[i], &integrator, 0.5, gradient);
        on.recorder().unwrap().repeated() - before
    };
    let record =
        |i, gradient| assert_eq!(repetitions(i, gradient) + repetitions(i, gradient), 0, "solve {i} was known");
    (0..most).for_each(|i| record(i, false));
    // The first is used again, so that the second goes for one more.
    assert_eq!(repetitions(0, false), 1);
    record(most, false);
    assert_eq!([0, 2, most].map(|i| repetitions(i, false)), [1; 3]);
    record(1, false);

    let most = Recorder::<Taped>::MOST_WITH_GRADIENT;
    (0..=most).for_each(|i| record(i, true));
    assert_eq!([most, 1].map(|i| repetitions(i, true)), [1; 2]);
    record(0, true);
}

fn likelihood(on: &Taped, potential: &Cubic, integrator: &dyn Integrator<Taped>, duration: f64, gradient: bool) {
    let (coordinates, memory) = (Coordinates::Auto, Memory::Stages);
    let flow = Flow { space: on, potential, integrator, duration, coordinates, memory };
    let key = RngKey::new(7, Purpose::Evaluate, 0);
    let outcome = NegativeLogLikelihood::default().evaluate(&flow, &key.normals(0..ROWS, DIM), key, gradient);
    assert!(outcome.unwrap().losses.iter().all(|loss| loss.is_finite()));
}

/// Cyclic shifts and the reflection x → −x.
fn shifts() -> Group {
    let shift = |s| (0..DIM as u32).map(|i| (i + s) % DIM as u32).collect();
    Group::new((0..DIM as u32).map(shift).collect(), vec![1.0; DIM]).unwrap().with_reflection()
}

/// `φ(x, t) = Σ_i a_i x_i² / 2 + κ(t) x_i³ / 3` with the parameters a, made of the operations of a space alone. A space has none that
/// spreads one row over many, so every row of the batch has an a of its own.
#[derive(Debug)]
struct Cubic {
    on: Taped,
    ones: Taken<Matrix>,
    a: Parameter<Taped>,
    identity: u64,
}

impl Cubic {
    fn new(on: &Taped) -> Self {
        let values: Vec<f64> = (0..ROWS * DIM).map(|i| 0.3 * (i as f64).sin()).collect();
        let a = Parameter { name: "a".into(), shape: vec![ROWS, DIM], value: on.upload(ROWS, DIM, &values) };
        Self { ones: on.upload(ROWS, DIM, &[1.0; ROWS * DIM]), on: on.clone(), a, identity: new_cache_key() }
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
        Box::new(self)
    }

    fn identity(&self) -> Option<u64> {
        Some(self.identity)
    }
}

impl Field<Taped> for &Cubic {
    fn enter(&self, rows: Range<usize>, x: Taken<Matrix>) -> (Box<dyn BlockField<Taped> + '_>, Taken<Matrix>) {
        assert_eq!(rows, 0..ROWS);
        (Box::new(CubicRows { of: self, share: self.on.zeros(ROWS, DIM) }), x)
    }

    fn value(&self, _rows: Range<usize>, _stage: Stage, _x: &Taken<Matrix>) -> Taken<Figures> {
        unreachable!("no solve asks for it");
    }

    fn gradient(&self, sums: Vec<Taken<Matrix>>) -> Vec<Taken<Matrix>> {
        sums
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
        velocity: &mut Taken<Matrix>,
        laplacian: Option<&mut Taken<Figures>>,
        residuals: Option<&mut Residuals<Taped>>,
    ) {
        let Cubic { on, ones, a, .. } = self.of;
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
        residuals: &[Taken<Matrix>],
        velocity_bar: &Taken<Matrix>,
        laplacian_bar: Option<&Taken<Figures>>,
        state_bar: Option<&mut Taken<Matrix>>,
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

    fn leave(&mut self, state: Taken<Matrix>) -> Taken<Matrix> {
        state
    }

    fn leave_pullback(&mut self, _state: &Taken<Matrix>, x_bar: Taken<Matrix>) -> Taken<Matrix> {
        x_bar
    }

    fn enter_pullback(self: Box<Self>, state_bar: Taken<Matrix>) -> (Taken<Matrix>, Vec<Taken<Matrix>>) {
        (state_bar, vec![self.share])
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
    recorder: Option<Arc<TapedRecorder>>,
}

struct TapedRecorder(Recorder<Taped>);

impl std::fmt::Debug for TapedRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} repetitions", self.0.repeated())
    }
}

impl Taped {
    fn plain() -> Self {
        Self { cpu: Cpu::new(1), tape: Tape::default(), recorder: None }
    }

    fn recording() -> Self {
        let plain = Self::plain();
        let recorder = TapedRecorder(Recorder::new(Box::new(plain.clone())));
        Self { recorder: Some(Arc::new(recorder)), ..plain }
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
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Option<Vec<Operation>>>>);

type Operation = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} operations", self.0.lock().unwrap().as_ref().map(Vec::len))
    }
}

impl Tape {
    /// Like a device that records: it does nothing meanwhile.
    fn ask(&self, operation: impl Fn() + Send + Sync + 'static) {
        match &mut *self.0.lock().unwrap() {
            Some(operations) => operations.push(Box::new(operation)),
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

    fn accumulate_quotient(
        &self,
        out: &mut Taken<Matrix>,
        c: f64,
        numerator: &Taken<Matrix>,
        square: &Taken<Matrix>,
        scale: f64,
        epsilon: f64,
    ) {
        let (numerator, square) = (numerator.handle(), square.handle());
        self.change(out, move |cpu, out| {
            cpu.accumulate_quotient(out, c, &numerator.read(), &square.read(), scale, epsilon);
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

    fn map_rows<T: Send>(&self, rows: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
        vec![work(0..rows)]
    }

    fn recorder(&self) -> Option<&Recorder<Self>> {
        self.recorder.as_deref().map(|recorder| &recorder.0)
    }
}

impl Record<Taped> for Taped {
    fn record(&self, work: &mut dyn FnMut()) -> Box<dyn Repeat> {
        assert!(self.tape.0.lock().unwrap().replace(Vec::new()).is_none(), "two recordings at a time");
        work();
        let operations = self.tape.0.lock().unwrap().take().expect("this recording");
        let recorded = Operations(operations);
        recorded.repeat();
        Box::new(recorded)
    }

    fn refill(&self, array: &mut Taken<Matrix>, values: &[f64]) {
        let (rows, cols) = self.shape(array);
        *array.cell.lock().unwrap() = self.host().upload(rows, cols, values);
    }

    fn address(&self, array: &Taken<Matrix>) -> usize {
        Arc::as_ptr(&array.cell).addr()
    }

    fn mode(&self) -> u64 {
        0
    }
}

struct Operations(Vec<Operation>);

impl Repeat for Operations {
    fn repeat(&self) {
        self.0.iter().for_each(|operation| operation());
    }
}
