"""Alanine dipeptide in vacuum, by the force field amber14 of OpenMM: a flow beside molecular dynamics.

    python alanine.py
    python alanine.py --quick         a shorter simulation and training: a minute on two cores

A molecule's energy does not change when it is moved or turned, so that its 66 Cartesian numbers have no density. The
flow lives in 60 internal coordinates: 21 bond lengths, 20 angles and 19 dihedrals, with the volume b² sin(angle) of
every atom in the energy. Bonds, angles and the dihedrals that are stiff enter as they are. The five that turn (φ, ψ and
the three methyl groups) live on a circle: x = Φ⁻¹(turn), Φ the standard normal distribution, makes a free rotor a
standard normal coordinate, and its circle is cut where the simulation is least.

The flow learns by flow matching from samples of replica exchange at 300 to 1000 K, and then by the force field itself: its
forces at samples of the simulation say how the divergence of the flow from the target falls. The other divergence, of
samples of the flow, is what a training by energy alone goes by; here it would give up φ > 0, where few samples are.
Printed are the effective sample size, the Pareto shape k of the weights, and the free energy of φ > 0 by weights and by
the simulation. Where k is above 0.7 the weights have no error, and no free energy is printed.

Needs openmm, jax and matplotlib.
"""

import argparse
import math
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import openmm
from jax.scipy.stats import norm
from openmm import app, unit

import maflow

jax.config.update("jax_enable_x64", True)

KELVIN = 300.0
KT = 0.00831446261815324 * KELVIN
# Atom, and the three that its bond length, angle and dihedral are measured from; where the simulation starts, in nm and
# degrees. Of three atoms on one carbon the second and third are measured from the first, so that one dihedral turns.
ATOMS = """
ALA.N    -        -        -         0      0   0
ALA.CA   ALA.N    -        -         0.146  0   0
ALA.C    ALA.CA   ALA.N    -         0.152  110 0
ALA.CB   ALA.CA   ALA.N    ALA.C     0.153  110 -122
ALA.HA   ALA.CA   ALA.N    ALA.C     0.109  109 119
ACE.C    ALA.N    ALA.CA   ALA.C     0.134  122 -80
ALA.H    ALA.N    ALA.CA   ACE.C     0.101  118 180
NME.N    ALA.C    ALA.CA   ALA.N     0.134  116 75
ALA.O    ALA.C    ALA.CA   NME.N     0.123  121 180
ACE.CH3  ACE.C    ALA.N    ALA.CA    0.151  116 180
ACE.O    ACE.C    ALA.N    ACE.CH3   0.123  122 180
NME.C    NME.N    ALA.C    ALA.CA    0.146  122 180
NME.H    NME.N    ALA.C    NME.C     0.101  118 180
ALA.HB1  ALA.CB   ALA.CA   ALA.N     0.109  110 60
ALA.HB2  ALA.CB   ALA.CA   ALA.HB1   0.109  110 120
ALA.HB3  ALA.CB   ALA.CA   ALA.HB1   0.109  110 -120
ACE.H1   ACE.CH3  ACE.C    ALA.N     0.109  110 60
ACE.H2   ACE.CH3  ACE.C    ACE.H1    0.109  110 120
ACE.H3   ACE.CH3  ACE.C    ACE.H1    0.109  110 -120
NME.H1   NME.C    NME.N    ALA.C     0.109  110 60
NME.H2   NME.C    NME.N    NME.H1    0.109  110 120
NME.H3   NME.C    NME.N    NME.H1    0.109  110 -120
"""
TABLE = [line.split() for line in ATOMS.strip().splitlines()]
NAMES = [row[0] for row in TABLE]
ANCHORS = [[NAMES.index(name) for name in row[1:4] if name != "-"] for row in TABLE]
# The atoms from the fourth on, in groups that are measured from those before.
GROUPS = []
while sum(map(len, GROUPS)) < len(TABLE) - 3:
    before = {0, 1, 2}.union(*GROUPS)
    GROUPS.append(np.array([i for i in range(3, len(TABLE)) if i not in before and before.issuperset(ANCHORS[i])]))
# Which of the dihedrals turn, φ and ψ first; the others swing about where they start.
TURNING = np.array([NAMES.index(name) - 3 for name in ("ACE.C", "NME.N", "ALA.HB1", "ACE.H1", "NME.H1")])
STARTS = np.deg2rad([float(row[6]) for row in TABLE[3:]])
# Energies this far above the lowest of the simulation, in k_B T, and beyond get a logarithm: atoms on top of each other
# have energies that no number holds, and no weight.
HIGH = 200.0
# Rows that geometry is computed of at once.
BLOCK = 256


# From coordinates of the flow to positions, in nm


def internal(x, cuts):
    """Bond lengths (rows, 21), angles (rows, 20), dihedrals (rows, 19), and ln of the volume that x has there."""
    bonds, bends, dihedrals = x[:, :21], x[:, 21:41], jnp.asarray(x[:, 41:] + STARTS)
    turns = x[:, 41 + TURNING]
    dihedrals = dihedrals.at[:, TURNING].set(cuts + 2.0 * np.pi * norm.cdf(turns))
    volume = 2.0 * jnp.log(bonds).sum(1) + jnp.log(jnp.sin(bends)).sum(1)
    return bonds, bends, dihedrals, volume + (norm.logpdf(turns) + np.log(2.0 * np.pi)).sum(1)


def unit_vector(v):
    return v / jnp.linalg.norm(v, axis=-1, keepdims=True)


def frame(a, b, c):
    """Three directions at a: from b on, and the two across, the first of them towards c."""
    along = unit_vector(a - b)
    across = unit_vector(jnp.cross(b - c, along))
    return along, jnp.cross(across, along), across


def place(bonds, bends, dihedrals):
    """Positions (rows, 22, 3) of atoms: the first at the origin, the second on the axis x, others in groups."""
    zero = jnp.zeros_like(bonds[:, 0])
    atoms = [jnp.stack([zero, zero, zero], 1), jnp.stack([bonds[:, 0], zero, zero], 1)]
    side = jnp.stack([-jnp.cos(bends[:, 0]), jnp.sin(bends[:, 0]), zero], 1)
    atoms.append(atoms[1] + bonds[:, 1, None] * side)
    positions = jnp.zeros((len(bonds), len(TABLE), 3)).at[:, :3].set(jnp.stack(atoms, 1))
    for group in GROUPS:
        near = [positions[:, [ANCHORS[i][which] for i in group]] for which in range(3)]
        along, towards, across = frame(*near)
        parts = bonds[:, group - 1], bends[:, group - 2], dihedrals[:, group - 3]
        length, angle, turn = (part[..., None] for part in parts)
        flat = jnp.cos(turn) * towards + jnp.sin(turn) * across
        step = length * (jnp.sin(angle) * flat - jnp.cos(angle) * along)
        positions = positions.at[:, group].set(near[0] + step)
    return positions


def measure(positions):
    """Bond lengths, angles and dihedrals of positions: the inverse of :func:`place`."""
    bonds, bends, dihedrals = [], [], []
    for i, anchors in enumerate(ANCHORS):
        near = [positions[:, anchor] for anchor in anchors]
        if near:
            step = positions[:, i] - near[0]
            bonds.append(jnp.linalg.norm(step, axis=1))
        if len(near) > 1:
            bends.append(jnp.arccos((step * unit_vector(near[1] - near[0])).sum(1) / bonds[-1]))
        if len(near) > 2:
            _, towards, across = frame(*near)
            dihedrals.append(jnp.arctan2((step * across).sum(1), (step * towards).sum(1)))
    return tuple(np.stack(part, 1) for part in (bonds, bends, dihedrals))


def around(angles):
    """The same angles from -π to π."""
    return np.remainder(angles + np.pi, 2.0 * np.pi) - np.pi


def coordinates(positions):
    """Coordinates of the flow (rows, 60) of positions, and where the circles of the five that turn are cut."""
    bonds, bends, dihedrals = measure(positions)
    swings = around(dihedrals - STARTS)
    cuts = np.array([emptiest(dihedrals[:, i]) for i in TURNING])
    turns = np.remainder(dihedrals[:, TURNING] - cuts, 2.0 * np.pi) / (2.0 * np.pi)
    swings[:, TURNING] = norm.ppf(turns.clip(1e-9, 1.0 - 1e-9))
    return np.concatenate([bonds, bends, swings], 1), cuts


def emptiest(angles):
    """The middle of the 20 degrees where the fewest angles are."""
    count, edges = np.histogram(angles, bins=72, range=(-np.pi, np.pi))
    return edges[np.argmin(sum(np.roll(count, shift) for shift in (-1, 0, 1, 2)))]


# The force field


def molecule():
    """The system of OpenMM, positions to start from, and which of our atoms is each of its own."""
    topology = app.Topology()
    chain = topology.addChain()
    order = {
        "ACE": ["H1", "CH3", "H2", "H3", "C", "O"],
        "ALA": ["N", "H", "CA", "HA", "CB", "HB1", "HB2", "HB3", "C", "O"],
        "NME": ["N", "H", "C", "H1", "H2", "H3"],
    }
    for residue, names in order.items():
        added = topology.addResidue(residue, chain)
        for name in names:
            topology.addAtom(name, app.Element.getBySymbol(name[0]), added)
    topology.createStandardBonds()
    system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(topology, nonbondedMethod=app.NoCutoff)
    lengths, angles = (np.array([[float(row[column]) for row in TABLE]]) for column in (4, 5))
    positions = place(lengths[:, 1:], np.deg2rad(angles[:, 2:]), STARTS[None])
    order = np.array([NAMES.index(f"{atom.residue.name}.{atom.name}") for atom in topology.atoms()])
    return system, np.array(positions[0]), order


class Energy:
    """The energy of coordinates of the flow, in units of k_B T, and its gradient: what maflow takes."""

    def __init__(self, system, order, cuts):
        self.context = new_context(system, openmm.VerletIntegrator(0.001))
        self.order, self.lowest = order, 0.0

        def geometry(x):
            bonds, bends, dihedrals, volume = internal(x, cuts)
            return place(bonds, bends, dihedrals), volume

        def pull_back(x, forces, one):
            return jax.vjp(geometry, x)[1]((forces, one))[0]

        self.geometry, self.pull_back = jax.jit(geometry), jax.jit(pull_back)

    def __call__(self, x):
        # In blocks of one size, because JAX compiles for every number of rows anew.
        blocks = [self.of_block(x[first : first + BLOCK]) for first in range(0, len(x), BLOCK)]
        return tuple(np.concatenate(part) for part in zip(*blocks))

    def of_block(self, rows):
        x = np.resize(rows, (BLOCK, rows.shape[1]))
        positions, volume = (np.asarray(part) for part in self.geometry(x))
        potential, gradient = self.potential(positions[: len(rows)])
        gradient = np.resize(gradient, positions.shape)
        above = np.maximum(potential - self.lowest - HIGH, 0.0)
        factor = np.resize(1.0 / (1.0 + above), BLOCK)
        energies = potential - self.lowest - above + np.log1p(above) - volume[: len(rows)]
        gradients = self.pull_back(x, gradient * factor[:, None, None], -np.ones(BLOCK))
        return energies, np.asarray(gradients)[: len(rows)]

    def potential(self, positions):
        """The force field alone: energies (rows,) and gradients (rows, 22, 3), per nm."""
        energies, gradients = np.empty(len(positions)), np.empty(positions.shape)
        for row, atoms in enumerate(positions):
            self.context.setPositions(atoms[self.order])
            state = self.context.getState(getEnergy=True, getForces=True)
            energies[row] = in_kt(state)
            forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
            gradients[row, self.order] = forces / -KT
        return energies, gradients


def in_kt(state):
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KT


def new_context(system, integrator):
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


def replica_exchange(system, start, count, stride=100, replicas=6, seed=1):
    """Positions (count, 22, 3) at 300 K: Langevin dynamics at temperatures up to 1000 K, whose states are exchanged."""
    temperatures = KELVIN * (1000.0 / KELVIN) ** (np.arange(replicas) / (replicas - 1))
    cold = KELVIN / temperatures
    contexts = []
    for number, temperature in enumerate(temperatures):
        integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.001)
        integrator.setRandomNumberSeed(seed + number)
        contexts.append(new_context(system, integrator))
        contexts[-1].setPositions(start)
        openmm.LocalEnergyMinimizer.minimize(contexts[-1])
        contexts[-1].setVelocitiesToTemperature(temperature, seed + number)
    random, kept, settling = np.random.default_rng(seed), [], count // 10
    with ThreadPoolExecutor(2) as pool:
        for sweep in range(settling + count):
            list(pool.map(lambda context: context.getIntegrator().step(stride), contexts))
            states = [context.getState(getPositions=True, getVelocities=True, getEnergy=True) for context in contexts]
            energies = [in_kt(state) for state in states]
            for low in range(sweep % 2, replicas - 1, 2):
                gain = (cold[low] - cold[low + 1]) * (energies[low] - energies[low + 1])
                if math.log(random.random()) < gain:
                    exchange(contexts, states, temperatures, low, low + 1)
            if sweep >= settling:
                positions = contexts[0].getState(getPositions=True).getPositions(asNumpy=True)
                kept.append(positions.value_in_unit(unit.nanometer))
    return np.array(kept)


def exchange(contexts, states, temperatures, low, high):
    """Give two replicas each other's state, the velocities scaled to the temperature."""
    for here, there in ((low, high), (high, low)):
        velocities = states[there].getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        contexts[here].setPositions(states[there].getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        contexts[here].setVelocities(velocities * math.sqrt(temperatures[here] / temperatures[there]))


# Figures


def of_positive(phi, log_weights=None, blocks=10):
    """Free energy of φ > 0 above that of φ < 0, in k_B T, with a standard error from blocks of the samples, in words."""
    weights = np.ones(len(phi)) if log_weights is None else np.exp(log_weights - log_weights.max())
    part = [
        (weights[block] * (phi[block] > 0.0)).sum() / weights[block].sum()
        for block in np.array_split(np.arange(len(phi)), blocks)
    ]
    mean, error = np.mean(part), np.std(part, ddof=1) / math.sqrt(blocks)
    if not 0.0 < mean < 1.0:
        # A short simulation may cross the barrier too late.
        return "unknown, as no sample is on the other side of the barrier"
    return f"{math.log((1.0 - mean) / mean):.2f} ± {error / (mean * (1.0 - mean)):.2f} k_B T"


def draw(file, panels):
    """Density of (φ, ψ) of each panel, in one picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 4.0), sharey=True, layout="compressed")
    for axis, (name, dihedrals, log_weights) in zip(axes, panels):
        weights = None if log_weights is None else np.exp(log_weights - log_weights.max())
        degrees = np.rad2deg(dihedrals)
        bins = np.linspace(-180.0, 180.0, 61)
        count, _, _ = np.histogram2d(*degrees.T, bins=(bins, bins), density=True, weights=weights)
        with np.errstate(divide="ignore"):
            free = -np.log(count.T)
        image = axis.pcolormesh(bins, bins, free - free.min(), vmax=8.0, cmap="viridis")
        axis.set(title=name, xlabel="φ, degrees", aspect="equal")
    axes[0].set_ylabel("ψ, degrees")
    figure.colorbar(image, ax=axes, label="free energy, k_B T", shrink=0.8)
    figure.savefig(file, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a shorter simulation and training")
    quick = parser.parse_args().quick
    began = time.monotonic()

    system, start, order = molecule()
    positions = replica_exchange(system, start[order], 1000 if quick else 10000)[:, np.argsort(order)]
    x, cuts = coordinates(positions)
    print(f"{len(x)} samples of replica exchange after {time.monotonic() - began:.0f} s")

    energy = Energy(system, order, cuts)
    energy.lowest = energy.potential(positions)[0].min()
    # A step through the force field takes as long as a hundred by flow matching.
    recipe = {"fine_tune.objective": "forward-kl", "fine_tune.gradient": "total", "fine_tune.batch": 128}
    recipe["evaluate.samples"] = 500 if quick else 2000
    if quick:
        recipe |= {"train.steps": 800, "fine_tune.steps": 4}
    else:
        recipe |= {"train.steps": 10000, "potential.terms.1.hidden": [256, 128], "fine_tune.steps": 40}
    flow = maflow.Flow.fit_energy(energy, 60, samples=x, recipe=recipe, progress=False)
    drawn, log_weights = flow.sample_weighted(1000 if quick else 10000)
    print(f"trained and weighted after {time.monotonic() - began:.0f} s")

    figures = flow.evaluate()
    simulated, flowing = (around(np.asarray(internal(rows, cuts)[2])[:, TURNING[:2]]) for rows in (x, drawn))
    print(f"effective sample size {100.0 * figures['ess']:.1f} %, Pareto k {figures['pareto_k']:.2f}")
    print(f"free energy of φ > 0 by replica exchange: {of_positive(simulated[:, 0])}")
    if figures["pareto_k"] < 0.7:
        print(f"free energy of φ > 0 by the flow's weights: {of_positive(flowing[:, 0], log_weights)}")
    panels = [("replica exchange", simulated, None), ("flow", flowing, None), ("flow, weighted", flowing, log_weights)]
    draw("alanine.png", panels)
    print("the map of (φ, ψ) is in alanine.png")


if __name__ == "__main__":
    main()
