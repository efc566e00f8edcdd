// Times VGG's forward pass in oneDNN 2.x and prints one line of JSON:
//
//   g++ -O2 -std=c++17 -fopenmp dnnl_vgg.cpp -o dnnl_vgg -ldnnl
//   OMP_NUM_THREADS=2 OMP_PROC_BIND=true ./dnnl_vgg CONFIG crop|dense BATCH SIZE ITERS WARMUP [WEIGHTS INPUT]
//
// As an expert user writes it: every layout is oneDNN's choice, weights are reordered
// once, rectification is fused, and Winograd is asked for by name.
//
// WEIGHTS and INPUT are files of float32: weights and bias of every layer, and the images. With
// them the scores are printed, too.
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using tag = memory::format_tag;

namespace {

const std::map<std::string, std::string> configs = {
    {"A", "64 M 128 M 256 256 M 512 512 M 512 512 M"},
    {"B", "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M"},
    {"D", "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M"},
    {"E", "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M"},
};
const int fc = 4096, classes = 1000, crop = 224;

memory::desc describe(const memory::dims& dims, tag layout = tag::any) {
    return {dims, memory::data_type::f32, layout};
}

class Network {
public:
    Network(const char* weights, const char* input)
        : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_), random_(1) {
        if (weights) weights_.open(weights, std::ios::binary), input_.open(input, std::ios::binary);
    }

    memory input(const memory::dims& dims) {
        memory x(describe(dims, tag::nchw), engine_);
        std::uniform_real_distribution<float> uniform(-1, 1);
        if (input_.is_open()) {
            load(x, input_);
        } else {
            fill(x, [&] { return uniform(random_); });
        }
        return x;
    }

    memory convolution(memory x, int out, int side, int padding, bool rectify) {
        const auto d = x.get_desc().dims();
        const memory::dims weights{out, d[1], side, side}, pad{padding, padding};
        const memory::dims dims{d[0], out, d[2] + 2 * padding - side + 1, d[3] + 2 * padding - side + 1};
        const auto plan = [&](algorithm a) {
            return dnnl::convolution_forward::primitive_desc(
                {prop_kind::forward_inference, a, describe(d), describe(weights), describe({out}),
                 describe(dims), {1, 1}, pad, pad},
                attributes(rectify), engine_);
        };
        // Winograd is for 3×3; the first layer's three channels are too few for it.
        if (side == 3 && d[1] > 3) {
            winograd_wanted_++;
            try {
                const auto p = plan(algorithm::convolution_winograd);
                winograd_got_++;
                return weighted<dnnl::convolution_forward>(p, x, weights, tag::oihw);
            } catch (const dnnl::error&) { // not for this processor or shape
            }
        }
        return weighted<dnnl::convolution_forward>(plan(algorithm::convolution_direct), x, weights, tag::oihw);
    }

    memory linear(memory x, int out, bool rectify) {
        const auto d = x.get_desc().dims();
        memory::dims weights = d;
        weights[0] = out;
        const dnnl::inner_product_forward::primitive_desc p(
            {prop_kind::forward_inference, describe(d), describe(weights), describe({out}), describe({d[0], out})},
            attributes(rectify), engine_);
        return weighted<dnnl::inner_product_forward>(p, x, weights, d.size() == 4 ? tag::oihw : tag::oi);
    }

    memory pool(memory x) {
        const auto d = x.get_desc().dims();
        const dnnl::pooling_forward::primitive_desc p(
            {prop_kind::forward_inference, algorithm::pooling_max, x.get_desc(),
             describe({d[0], d[1], d[2] / 2, d[3] / 2}), {2, 2}, {2, 2}, {0, 0}, {0, 0}},
            engine_);
        memory y(p.dst_desc(), engine_);
        steps_.push_back({dnnl::pooling_forward(p), {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}}});
        return y;
    }

    // The scores in rows of classes and pixels.
    std::vector<float> scores(memory y) {
        const auto d = y.get_desc().dims();
        memory plain(describe(d, d.size() == 4 ? tag::nchw : tag::nc), engine_);
        dnnl::reorder(y, plain).execute(stream_, y, plain);
        stream_.wait();
        const auto* p = static_cast<const float*>(plain.get_data_handle());
        return {p, p + plain.get_desc().get_size() / sizeof(float)};
    }

    void run() {
        for (auto& s : steps_) s.primitive.execute(stream_, s.arguments);
        stream_.wait();
    }

    int winograd_wanted() const { return winograd_wanted_; }
    int winograd_got() const { return winograd_got_; }

private:
    struct Step {
        dnnl::primitive primitive;
        std::unordered_map<int, memory> arguments;
    };

    static dnnl::primitive_attr attributes(bool rectify) {
        dnnl::primitive_attr a;
        if (rectify) {
            dnnl::post_ops ops;
            ops.append_eltwise(1, algorithm::eltwise_relu, 0, 0);
            a.set_post_ops(ops);
        }
        return a;
    }

    template <typename Draw>
    static void fill(memory& m, Draw draw) {
        auto* p = static_cast<float*>(m.get_data_handle());
        std::generate(p, p + m.get_desc().get_size() / sizeof(float), draw);
    }

    static void load(memory& m, std::ifstream& from) {
        if (!from.read(static_cast<char*>(m.get_data_handle()), m.get_desc().get_size())) {
            std::fprintf(stderr, "dnnl_vgg: a file ends too early\n");
            std::exit(1);
        }
    }

    // Appends p with its weights, random ones by He unless they are read, and returns its output.
    template <typename Primitive, typename Plan>
    memory weighted(const Plan& p, memory x, const memory::dims& dims, tag layout) {
        float fan_in = 1;
        for (size_t i = 1; i < dims.size(); i++) fan_in *= dims[i];
        memory w(describe(dims, layout), engine_), bias(p.bias_desc(), engine_), y(p.dst_desc(), engine_);
        std::normal_distribution<float> normal(0, std::sqrt(2 / fan_in));
        if (weights_.is_open()) {
            load(w, weights_);
            load(bias, weights_);
        } else {
            fill(w, [&] { return normal(random_); });
            fill(bias, [] { return 0.f; });
        }
        if (w.get_desc() != p.weights_desc()) {
            memory blocked(p.weights_desc(), engine_);
            dnnl::reorder(w, blocked).execute(stream_, w, blocked);
            stream_.wait();
            w = blocked;
        }
        if (x.get_desc() != p.src_desc()) { // in every pass
            memory blocked(p.src_desc(), engine_);
            steps_.push_back({dnnl::reorder(x, blocked), {{DNNL_ARG_FROM, x}, {DNNL_ARG_TO, blocked}}});
            x = blocked;
        }
        steps_.push_back({Primitive(p),
            {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}}});
        return y;
    }

    dnnl::engine engine_;
    dnnl::stream stream_;
    std::mt19937 random_;
    std::ifstream weights_, input_; // not open: random numbers
    std::vector<Step> steps_;
    int winograd_wanted_ = 0, winograd_got_ = 0;
};

} // namespace

int main(int argc, char** argv) {
    if ((argc != 7 && argc != 9) || !configs.count(argv[1])) {
        std::fprintf(stderr, "usage: dnnl_vgg CONFIG crop|dense BATCH SIZE ITERS WARMUP [WEIGHTS INPUT]\n");
        return 2;
    }
    const bool dense = std::string(argv[2]) == "dense";
    const int batch = std::atoi(argv[3]), size = std::atoi(argv[4]);
    const int iters = std::atoi(argv[5]), warmup = std::atoi(argv[6]);

    Network net(argc == 9 ? argv[7] : nullptr, argc == 9 ? argv[8] : nullptr);
    memory y = net.input({batch, 3, size, size});
    std::istringstream words(configs.at(argv[1]));
    for (std::string word; words >> word;) {
        y = word == "M" ? net.pool(y) : net.convolution(y, std::stoi(word), 3, 1, true);
    }
    if (dense) {
        y = net.convolution(y, fc, crop / 32, 0, true);
        y = net.convolution(y, fc, 1, 0, true);
        y = net.convolution(y, classes, 1, 0, false);
    } else {
        y = net.linear(y, fc, true);
        y = net.linear(y, fc, true);
        y = net.linear(y, classes, false);
    }

    std::vector<double> times;
    for (int i = 0; i < warmup + iters; i++) {
        const auto start = std::chrono::steady_clock::now();
        net.run();
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
        if (i >= warmup) times.push_back(took.count());
    }
    std::sort(times.begin(), times.end());
    const double median = (times[(times.size() - 1) / 2] + times[times.size() / 2]) / 2;
    std::string output;
    for (const auto d : y.get_desc().dims()) output += (output.empty() ? "" : ", ") + std::to_string(d);
    const auto* v = dnnl::version();
    std::printf("{\"version\": \"%d.%d.%d, Winograd in %d of %d layers\", "
                "\"median_ms\": %.3f, \"min_ms\": %.3f, \"max_ms\": %.3f, \"output\": [%s]",
        v->major, v->minor, v->patch, net.winograd_got(), net.winograd_wanted(),
        median, times.front(), times.back(), output.c_str());
    if (argc == 9) {
        const char* before = ", \"scores\": [";
        for (const float s : net.scores(y)) {
            std::printf("%s%.9g", before, s);
            before = ", ";
        }
        std::printf("]");
    }
    std::printf("}\n");
}
