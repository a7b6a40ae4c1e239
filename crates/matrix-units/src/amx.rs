//! The loop over tiles, in the instructions of AMX, which the compiler does not know.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

use crate::{Factors, Kernel, LINE, SIDE, STEP, Start, Sums, TILE, check_numbers};

/// Whether the processor has the units and the system lets this process use them.
pub(crate) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        // Leaf 7 of Intel's manual: bit 22 of EDX is AMX-BF16, bit 24 AMX-TILE.
        #[allow(unused_unsafe, reason = "older compilers ask for it")]
        // SAFETY: a processor with AVX-512 has the instruction and the leaf.
        let features = std::arch::is_x86_feature_detected!("avx512f").then(|| unsafe { __cpuid_count(7, 0) }.edx);
        // ARCH_REQ_XCOMP_PERM for XTILEDATA: Linux keeps room for the tiles of a thread only for those who ask.
        const ASK: libc::c_long = 0x1023;
        const TILES: libc::c_long = 18;
        // SAFETY: the call takes two numbers, and lets all threads of this process use the tiles.
        features.is_some_and(|edx| edx >> 22 & 0b101 == 0b101)
            && unsafe { libc::syscall(libc::SYS_arch_prctl, ASK, TILES) } == 0
    })
}

/// What `ldtilecfg` reads: the shapes of the eight tiles.
#[repr(C)]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Tiles 0 to 3 for sums, 4 and 5 of the left factor, 6 and 7 of the right one.
    fn new(height: usize, widths: [usize; 2]) -> Self {
        let mut shapes = Self { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        let [first, second] = widths.map(|width| (size_of::<f32>() * width) as u16);
        shapes.bytes[..8].copy_from_slice(&[first, second, first, second, LINE as u16, LINE as u16, first, second]);
        shapes.rows[..6].fill(height as u8);
        shapes.rows[6..8].fill(SIDE as u8);
        shapes
    }
}

/// Where the sums of one product start from or go, in the order in which the loop reads it: the first tiles of the
/// upper and the lower half, bytes to the second ones and from row to row.
#[repr(C)]
struct Place {
    halves: [*mut f32; 2],
    second: usize,
    row: usize,
}

/// All that the loop needs to know once.
#[repr(C, align(64))]
struct Work {
    shapes: Shapes,
    from: Place,
    to: Place,
}

/// Sums to start from where there are none.
static NOTHING: [f32; SIDE] = [0.0; SIDE];

const _: () = assert!(size_of::<u16>() * TILE == 1024 && size_of::<u16>() * STEP == 6144);
const _: () = assert!(std::mem::offset_of!(Work, from) == 64 && std::mem::offset_of!(Work, to) == 96);

/// The units of this processor.
pub(crate) struct Loop;

impl Kernel for Loop {
    fn product(&self, factors: &Factors<'_>, sums: Sums<'_>) {
        let (&Factors { height, widths, left, right, next }, Sums { start, out, stride }) = (factors, sums);
        let (steps, shape) = (left.len() / STEP, (2 * height, widths[0] + widths[1]));
        assert!(permitted(), "units that this process may use");
        assert!(left.len() == steps * STEP && right.len() == left.len(), "factors of equally many steps");
        assert!([height, widths[0], widths[1]].iter().all(|side| (1..=SIDE).contains(side)), "tiles of up to {SIDE}");
        check_numbers(out, stride, shape);
        let place = |of: *mut f32| {
            // SAFETY: what is pointed to has more than these rows.
            let halves = [of, unsafe { of.add(height * stride) }];
            Place { halves, second: size_of::<f32>() * widths[0], row: size_of::<f32>() * stride }
        };
        let to = place(out.as_mut_ptr());
        let from = match start {
            Start::Zeros => Place { halves: [NOTHING.as_ptr().cast_mut(); 2], second: 0, row: 0 },
            Start::There => place(to.halves[0]),
            Start::Of(start) => {
                check_numbers(start, stride, shape);
                place(start.as_ptr().cast_mut())
            }
        };
        let work = Work { shapes: Shapes::new(height, widths), from, to };
        let ahead = size_of_val(next) / LINE / (6 * steps.max(1));
        // SAFETY: the units are there and permitted. Tiles of the factors are lines of 64 bytes, or their beginnings,
        // at twelve places of every step, 1024 bytes apart, and there are as many steps as checked; of lines to be
        // asked for there are as many. Tiles of sums are rows that there is room for, as checked, or one line of zeros,
        // which is only read.
        unsafe { run(steps, [left.as_ptr(), right.as_ptr(), next.as_ptr()], ahead, &work) };
    }
}

/// Loads both tiles of a piece of the left factor.
macro_rules! left {
    ($first:literal, $second:literal) => {
        concat!("tileloadd tmm4, [{left} + {line} + ", $first, "]\ntileloadd tmm5, [{left} + {line} + ", $second, "]\n")
    };
}

/// Loads both tiles of a piece of the right factor.
macro_rules! right {
    ($first:literal, $second:literal) => {
        concat!(
            "tileloadd tmm6, [{right} + {line} + ",
            $first,
            "]\ntileloadd tmm7, [{right} + {line} + ",
            $second,
            "]\n"
        )
    };
}

/// Multiplies what was loaded, and asks for some lines of what comes next.
macro_rules! multiply {
    () => {
        "mov {a}, {ahead}
        test {a}, {a}
        jz 4f
        3:
        prefetcht1 [{next}]
        add {next}, 64
        dec {a}
        jnz 3b
        4:
        tdpbf16ps tmm0, tmm4, tmm6
        tdpbf16ps tmm1, tmm4, tmm7
        tdpbf16ps tmm2, tmm5, tmm6
        tdpbf16ps tmm3, tmm5, tmm7
        "
    };
}

/// One product. The units are configured for it and given back, so that no state of theirs outlives it.
///
/// # Safety
/// The units are permitted, left and right are valid for so many steps, what follows for six times `ahead` lines a
/// step, and both places for tiles of the shapes.
unsafe fn run(steps: usize, [left, right, next]: [*const u16; 3], ahead: usize, work: &Work) {
    // SAFETY: within what the caller promises; all registers that are written are named.
    unsafe {
        asm!(
            "ldtilecfg [{work}]",
            "mov {a}, [{work} + 64]",
            "mov {b}, [{work} + 80]",
            "mov {c}, [{work} + 88]",
            "tileloadd tmm0, [{a} + {c}]",
            "add {a}, {b}",
            "tileloadd tmm1, [{a} + {c}]",
            "mov {a}, [{work} + 72]",
            "tileloadd tmm2, [{a} + {c}]",
            "add {a}, {b}",
            "tileloadd tmm3, [{a} + {c}]",
            "test {steps}, {steps}",
            "jz 5f",
            "2:",
            // The least products first. Either factor is read in the order in which it lies, but for what was read just
            // before.
            right!("0", "1024"),
            left!("0", "1024"),
            multiply!(),
            right!("2048", "3072"),
            left!("2048", "3072"),
            multiply!(),
            right!("4096", "5120"),
            left!("4096", "5120"),
            multiply!(),
            right!("2048", "3072"),
            multiply!(),
            right!("0", "1024"),
            left!("2048", "3072"),
            multiply!(),
            left!("4096", "5120"),
            multiply!(),
            "add {left}, 6144",
            "add {right}, 6144",
            "dec {steps}",
            "jnz 2b",
            "5:",
            "mov {a}, [{work} + 96]",
            "mov {b}, [{work} + 112]",
            "mov {c}, [{work} + 120]",
            "tilestored [{a} + {c}], tmm0",
            "add {a}, {b}",
            "tilestored [{a} + {c}], tmm1",
            "mov {a}, [{work} + 104]",
            "tilestored [{a} + {c}], tmm2",
            "add {a}, {b}",
            "tilestored [{a} + {c}], tmm3",
            "tilerelease",
            work = in(reg) work,
            line = in(reg) LINE,
            left = inout(reg) left => _,
            right = inout(reg) right => _,
            next = inout(reg) next => _,
            ahead = in(reg) ahead,
            steps = inout(reg) steps => _,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
