/* Two wells in x, a spring in y: (x^2 - 1)^2 + y^2/2, the energy of the example own_energy.rs. */
#include "maflow_energy.h"

int maflow_energy(size_t rows, size_t dim, const double *x, double *energy, double *gradient, void *user) {
    (void)user;
    if (dim != 2)
        return 2;
    for (size_t r = 0; r < rows; r++, x += 2, gradient += 2) {
        double well = x[0] * x[0] - 1.0;
        energy[r] = well * well + 0.5 * x[1] * x[1];
        gradient[0] = 4.0 * x[0] * well;
        gradient[1] = x[1];
    }
    return 0;
}

int maflow_energy_is_thread_safe(void) {
    return 1;
}
