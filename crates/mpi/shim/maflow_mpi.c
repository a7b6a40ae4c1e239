/* The calls of MPI that maflow makes. scripts/setup-mpi.sh compiles this file with the mpicc of an MPI, and the program loads what
   comes of it: types and constants of MPI differ from one MPI to the next, and stay in here. Every function returns 0, or the
   error of MPI that maflow_mpi_reason puts into words. All are called from one thread. */
#include <mpi.h>
#include <string.h>

/* Raised with every change of a function; crates/mpi/src/shim.rs has the same number. */
#define INTERFACE 1

/* One communicator for the work and one for meetings, so that a member that gives up the work can still be met. */
static MPI_Comm work = MPI_COMM_NULL;
static MPI_Comm meetings = MPI_COMM_NULL;
static MPI_Request meeting = MPI_REQUEST_NULL;

static int copy(const char *text, int room, char *out) {
    if (room < 1)
        return MPI_ERR_ARG;
    strncpy(out, text, (size_t)room - 1);
    out[room - 1] = '\0';
    return MPI_SUCCESS;
}

int maflow_mpi_interface(void) {
    return INTERFACE;
}

/* The name of the MPI, with its version. May be called before maflow_mpi_start. */
int maflow_mpi_name(int room, char *out) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0, error = MPI_Get_library_version(name, &length);
    return error != MPI_SUCCESS ? error : copy(name, room, out);
}

int maflow_mpi_reason(int of, int room, char *out) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0, error = MPI_Error_string(of, text, &length);
    return error != MPI_SUCCESS ? error : copy(text, room, out);
}

/* Begins. places: rank, size, rank among those of the same machine, how many these are, and the rank of their first. */
int maflow_mpi_start(int places[5]) {
    int error, provided = MPI_THREAD_SINGLE, begun = 0;
    MPI_Comm machine;
#define TRY(call)                 \
    if ((error = (call)) != MPI_SUCCESS) \
    return error
    TRY(MPI_Initialized(&begun));
    if (!begun)
        TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    TRY(MPI_Query_thread(&provided));
    if (provided < MPI_THREAD_FUNNELED)
        return MPI_ERR_OTHER;
    TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    TRY(MPI_Comm_dup(MPI_COMM_WORLD, &work));
    TRY(MPI_Comm_dup(MPI_COMM_WORLD, &meetings));
    TRY(MPI_Comm_rank(work, &places[0]));
    TRY(MPI_Comm_size(work, &places[1]));
    TRY(MPI_Comm_split_type(work, MPI_COMM_TYPE_SHARED, places[0], MPI_INFO_NULL, &machine));
    TRY(MPI_Comm_rank(machine, &places[2]));
    TRY(MPI_Comm_size(machine, &places[3]));
    places[4] = places[0];
    TRY(MPI_Bcast(&places[4], 1, MPI_INT, 0, machine));
    return MPI_Comm_free(&machine);
}

static MPI_Datatype number(int wide) {
    return wide ? MPI_DOUBLE : MPI_FLOAT;
}

/* The numbers of all members, on every member. counts and starts: of every member, in numbers of 64 bits (wide) or 32. */
int maflow_mpi_gather(int wide, const void *mine, int count, void *all, const int *counts, const int *starts) {
    return MPI_Allgatherv(mine, count, number(wide), all, counts, starts, number(wide), work);
}

/* Every member sends a part of its numbers to every other. */
int maflow_mpi_exchange(int wide, const void *mine, const int *counts, const int *starts, void *theirs,
                        const int *their_counts, const int *their_starts) {
    return MPI_Alltoallv(mine, counts, starts, number(wide), theirs, their_counts, their_starts, number(wide), work);
}

/* This member has come to a meeting. */
int maflow_mpi_meet(void) {
    return MPI_Ibarrier(meetings, &meeting);
}

/* Whether all have come to it. */
int maflow_mpi_met(int *all) {
    return MPI_Test(&meeting, all, MPI_STATUS_IGNORE);
}

int maflow_mpi_finish(void) {
    int error;
    TRY(MPI_Comm_free(&work));
    TRY(MPI_Comm_free(&meetings));
    return MPI_Finalize();
}

/* Ends all members. */
void maflow_mpi_abort(int code) {
    MPI_Abort(MPI_COMM_WORLD, code);
}
