/* The energy of a target as a C function, for recipes with target.kind = "energy".
 *
 * A shared library that defines maflow_energy is trained by a recipe of three lines:
 *
 *     [target]
 *     kind = "energy"
 *     dimension = 2
 *     library = "energy.so"
 *
 * The density is exp(-energy(x))/Z. Constants that are left out of the energy go into Z.
 */
#ifndef MAFLOW_ENERGY_H
#define MAFLOW_ENERGY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Energies of some points and their gradients.
 *
 * rows      how many points
 * dim       numbers of each point: target.dimension of the recipe
 * x         the points, rows * dim numbers, row by row, in the units of the user
 * energy    to be written: one number for each point; NaN or infinite where a point has no energy
 * gradient  to be written: the derivatives of its energy by each number of a point, laid out like x
 * user      NULL where the program maflow calls
 *
 * Returns 0 for success. Any other number ends the work of the program, which prints it: return one when dim is not
 * the dimension that the energy is of.
 *
 * The same x must give the same numbers every time. No exception of C++ may leave the function. It is called from one
 * thread at a time, not always the same one, unless maflow_energy_is_thread_safe says that it may be called from
 * several.
 */
int maflow_energy(size_t rows, size_t dim, const double *x, double *energy, double *gradient, void *user);

/* Optional: returns 1 where maflow_energy may be called from several threads at a time. */
int maflow_energy_is_thread_safe(void);

/* Optional: numbers of points that `maflow physics` averages over the target, where the recipe names them:
 *
 *     observables = ["radius", "angle"]
 *
 * count     how many names the recipe has
 * values    to be written: count numbers for each of the points, row by row, in the order of the names; finite
 *
 * Everything else is as of maflow_energy. It is called from one thread at a time.
 */
int maflow_observables(size_t rows, size_t dim, size_t count, const double *x, double *values, void *user);

#ifdef __cplusplus
}
#endif

#endif
