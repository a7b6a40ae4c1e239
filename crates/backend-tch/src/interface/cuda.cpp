// The part of the C interface of libtorch that is for CUDA: captures work of the first device as a graph.
//
// Functions that can fail answer null, or else what went wrong, in words that last until this thread's next call.

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAStream.h>
#include <exception>
#include <memory>
#include <string>

namespace {

struct Graph {
    // What the thread that captures worked on before.
    c10::cuda::CUDAStream before;
    at::cuda::CUDAGraph graph;
};

// Does work, and turns an exception into words: none may reach a caller that is no C++.
template <class Work> const char *answer(Work work) noexcept {
    static thread_local std::string words;
    try {
        work();
        return nullptr;
    } catch (const std::exception &error) {
        words = error.what();
    } catch (...) {
        words = "an exception of an unknown type";
    }
    return words.c_str();
}

} // namespace

extern "C" {

// Moves this thread to a stream of its own, whose handle is told, and captures what it asks for from now on. After a
// failure it is where it was.
const char *maflow_capture_begin(Graph **graph, void **handle) noexcept {
    return answer([&] {
        static const c10::cuda::CUDAStream own = c10::cuda::getStreamFromPool(false, 0);
        const auto before = c10::cuda::getCurrentCUDAStream(0);
        c10::cuda::setCurrentCUDAStream(own);
        try {
            std::unique_ptr<Graph> made(new Graph{before, {}});
            // Other threads may do what they like meanwhile.
            made->graph.capture_begin({0, 0}, cudaStreamCaptureModeRelaxed);
            *graph = made.release();
            *handle = own.stream();
        } catch (...) {
            c10::cuda::setCurrentCUDAStream(before);
            throw;
        }
    });
}

// Captures no more.
const char *maflow_capture_end(Graph *graph) noexcept {
    return answer([&] { graph->graph.capture_end(); });
}

// Moves this thread back to where it was before the capture.
const char *maflow_capture_leave(Graph *graph) noexcept {
    return answer([&] { c10::cuda::setCurrentCUDAStream(graph->before); });
}

// Asks the device to do the captured work.
const char *maflow_graph_replay(Graph *graph) noexcept {
    return answer([&] { graph->graph.replay(); });
}

// Lets go of captured work, and of the memory that it keeps. The device is not at it.
void maflow_graph_free(Graph *graph) noexcept { delete graph; }
}
