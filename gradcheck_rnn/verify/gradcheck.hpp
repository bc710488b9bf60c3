// Test vectors of gradcheck-rnn. A kernel is called with what its parameters are named after:
// gradcheck::run("FOLDER", kernel, "T B x W dh dW"), dh for the cotangent of output h, dW for the
// gradient of W; "x W dh -> h dW" where it returns them. Buffers start as something: "c=h", and a
// carry that becomes a gradient is "dh0=dh_final".
// By hand: for (auto& v : gradcheck::probes("FOLDER")), v.array("W") and v.cotangent("h") are read,
// v.gradient("W", dW) and v.output("h", h) written. All at once are maps by name: auto a =
// v.arrays(), g = gradcheck::zeros(a); kernel(a["W"].data(), g["W"].data()); v.gradients(g).
// Both remove what an earlier run wrote. For C++11 and later.
#pragma once
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace gradcheck {

template <class To, class From>
std::vector<To> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error("there is no " + path);
    std::vector<From> held(static_cast<std::size_t>(file.tellg()) / sizeof(From));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(held.data()), held.size() * sizeof(From));
    return std::vector<To>(held.begin(), held.end());
}

template <class T>
using Map = std::map<std::string, std::vector<T>>;

// Arrays by name; a name that is not there is an error.
template <class T>
struct Arrays : Map<T> {
    std::vector<T>& operator[](const std::string& n) {
        auto found = this->find(n);
        if (found != this->end()) return found->second;
        std::string names;
        for (auto& a : *this) names += " " + a.first;
        throw std::out_of_range("there is no array " + n + "; there are" + names);
    }
};

// As many zeros under each name: buffers for gradients.
template <class T>
Arrays<T> zeros(const Arrays<T>& arrays) {
    Arrays<T> made;
    for (auto& a : arrays) made.emplace(a.first, std::vector<T>(a.second.size()));
    return made;
}

inline std::vector<std::string> split(std::istream&& text) {
    std::vector<std::string> found;
    for (std::string word; text >> word;) found.push_back(word);
    return found;
}

inline std::vector<std::string> split(const std::string& text) {
    return split(std::istringstream(text));
}

inline std::vector<std::string> words(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("there is no " + path);
    return split(std::move(file));
}

template <class T>
struct Probe {
    std::string folder, name;
    std::map<std::string, int> sizes;

    int size(const std::string& dim) const { return sizes.at(dim); }
    std::vector<T> array(const std::string& n) const {
        return read<T, double>(folder + "/arrays/" + n + ".f64");
    }
    Arrays<T> arrays() const {
        Arrays<T> found;
        for (auto& n : words(folder + "/arrays.txt")) found.emplace(n, array(n));
        return found;
    }
    std::vector<std::int64_t> labels(const std::string& n) const {
        return read<std::int64_t, std::int64_t>(folder + "/labels/" + n + ".i64");
    }
    std::vector<T> cotangent(const std::string& output) const {
        return read<T, double>(folder + "/cotangents/" + name + "/" + output + ".f64");
    }
    void gradient(const std::string& n, const std::vector<T>& g) const {
        write("/arrays.txt", "/gradients/" + name + "/", n, g);
    }
    void gradients(const Map<T>& all) const {
        for (auto& g : all) gradient(g.first, g.second);
    }
    void output(const std::string& n, const std::vector<T>& y) const {
        write("/outputs.txt", "/outputs/", n, y);
    }

  private:
    void write(const std::string& list, const std::string& place, const std::string& n,
               const std::vector<T>& a) const {
        static_assert(sizeof(T) == 8 || sizeof(T) == 4, "write results as double or float");
        std::string names;
        bool known = false;
        for (auto& w : words(folder + list)) known = known || w == n, names += " " + w;
        if (!known) throw std::out_of_range("there is nothing called " + n + "; there are" + names);
        std::string path = folder + place + n + (sizeof(T) == 8 ? ".f64" : ".f32");
        std::ofstream file(path, std::ios::binary);
        file.write(reinterpret_cast<const char*>(a.data()), a.size() * sizeof(T));
        if (!file) throw std::runtime_error("cannot write " + path);
    }
};

template <class T = double>
std::vector<Probe<T>> probes(const std::string& folder) {
    std::map<std::string, int> sizes;
    std::string word;
    std::ifstream dims(folder + "/sizes.txt");
    if (!dims) throw std::runtime_error("there are no vectors in " + folder);
    while (dims >> word) dims >> sizes[word];
    std::vector<Probe<T>> found;
    std::vector<std::string> old;
    for (auto& y : words(folder + "/outputs.txt")) old.push_back("/outputs/" + y);
    for (auto& name : words(folder + "/probes.txt")) {
        found.push_back({folder, name, sizes});
        for (auto& n : words(folder + "/arrays.txt")) old.push_back("/gradients/" + name + "/" + n);
    }
    for (auto& path : old)
        for (auto format : {".f64", ".f32"}) std::remove((folder + path + format).c_str());
    return found;
}

// What a word names: a size, or an array that turns into a vector or a pointer; labels are ints.
template <class T>
struct Argument {
    enum Kind { Size, Labels, Input, Cotangent, Output, Gradient, Buffer };
    const Probe<T>& probe;
    std::string name;
    Kind kind;
    std::vector<T> held;
    std::vector<int> classes;

    operator std::vector<T>&() { return is(kind != Size && kind != Labels, "array"), held; }
    operator T*() { return static_cast<std::vector<T>&>(*this).data(); }
    operator std::vector<int>&() { return is(kind == Labels, "array of labels"), classes; }
    operator int*() { return static_cast<std::vector<int>&>(*this).data(); }
    template <class N, class = typename std::enable_if<std::is_arithmetic<N>::value>::type>
    operator N() {
        is(kind == Size || held.size() == 1, "number");
        return kind == Size ? static_cast<N>(probe.size(name)) : static_cast<N>(held[0]);
    }
    void operator=(const std::vector<T>& a) {
        is(kind == Output || kind == Gradient || kind == Buffer, "output, gradient or buffer");
        held = a;
    }
    void save() const {
        if (kind == Output) probe.output(name, held);
        if (kind == Gradient) probe.gradient(name.substr(1), held);
    }
    void is(bool true_, const char* what) const {
        if (!true_) throw std::invalid_argument(name + " is no " + what);
    }
};

// The arguments at one probe, each made when it is first named.
template <class T>
class Pool {
    typedef Argument<T> One;
    const Probe<T>& v;
    std::map<std::string, One> made;
    std::map<std::string, std::size_t> counts;
    std::vector<std::pair<std::string, typename One::Kind>> known;

  public:
    explicit Pool(const Probe<T>& probe) : v(probe) {
        for (auto& s : v.sizes) known.push_back({s.first, One::Size});
        for (auto& a : words(v.folder + "/arrays.txt")) {
            known.push_back({a, One::Input});
            known.push_back({"d" + a, One::Gradient});
        }
        for (auto& y : words(v.folder + "/outputs.txt")) {
            known.push_back({y, One::Output});
            known.push_back({"d" + y, One::Cotangent});
        }
        for (auto& y : words(v.folder + "/labels.txt")) known.push_back({"labels." + y, One::Labels});
        std::ifstream shapes(v.folder + "/shapes.txt");
        for (std::string line, name; std::getline(shapes, line);) {
            std::istringstream parts(line);
            parts >> name;
            counts[name] = 1;
            for (std::size_t axis; parts >> axis;) counts[name] *= axis;
        }
    }
    // NAME, or NAME=START for a result or a buffer that starts as a copy of another array.
    One& operator[](const std::string& word) {
        std::size_t equals = word.find('=');
        std::string n = word.substr(0, equals);
        auto there = made.find(n);
        if (there != made.end()) return there->second;
        One one = {v, n, One::Buffer, {}, {}};
        std::string names;
        int found = 0;
        for (auto& k : known) {
            names += " " + k.first;
            if (k.first == n) one.kind = k.second, found++;
        }
        if (found > 1) throw std::out_of_range("two are called " + n + "; use gradcheck::probes");
        if (found == 0 && equals == std::string::npos)
            throw std::out_of_range("nothing is called " + n + "; there are" + names + ", and " + n +
                                    "=h is a buffer that starts as h");
        if (one.kind == One::Labels)
            for (auto c : v.labels(n.substr(7))) one.classes.push_back(static_cast<int>(c));
        if (one.kind == One::Input) one.held = v.array(n);
        if (one.kind == One::Cotangent) one.held = v.cotangent(n.substr(1));
        if (one.kind == One::Output) one.held.resize(counts[n]);
        if (one.kind == One::Gradient) one.held.resize(counts[n.substr(1)]);
        if (equals != std::string::npos)
            one = static_cast<std::vector<T>&>((*this)[word.substr(equals + 1)]);
        return made.emplace(n, one).first->second;
    }
    void save() const {
        for (auto& one : made) one.second.save();
    }
};

template <std::size_t...>
struct Indices {};
template <std::size_t N, std::size_t... I>
struct UpTo : UpTo<N - 1, N - 1, I...> {};
template <std::size_t... I>
struct UpTo<0, I...> {
    typedef Indices<I...> type;
};

// The result type and the number of parameters of a function or of a lambda without auto.
template <class R, class... A>
struct Signature {
    typedef R result;
    typedef typename UpTo<sizeof...(A)>::type indices;
    static std::size_t size() { return sizeof...(A); }
};
template <class F>
struct Call : Call<decltype(&F::operator())> {};
template <class R, class... A>
struct Call<R (*)(A...)> : Signature<R, A...> {};
template <class C, class R, class... A>
struct Call<R (C::*)(A...)> : Signature<R, A...> {};
template <class C, class R, class... A>
struct Call<R (C::*)(A...) const> : Signature<R, A...> {};
#ifdef __cpp_noexcept_function_type
template <class R, class... A>
struct Call<R (*)(A...) noexcept> : Signature<R, A...> {};
#endif

typedef std::vector<std::string> Names;
inline void count(const char* what, std::size_t there, const Names& names) {
    if (names.size() != there)
        throw std::invalid_argument(std::to_string(there) + what + std::to_string(names.size()) +
                                    " named");
}

// What is returned: a vector, a tuple of vectors, or something that nobody names.
template <class T>
void keep(Pool<T>& pool, const Names& names, const std::vector<T>& a, int) {
    count(" array is returned, ", 1, names);
    pool[names[0]] = a;
}
template <class T, class R, std::size_t... I>
void keep_all(Pool<T>& pool, const Names& names, const R& r, Indices<I...>) {
    int each[] = {0, (pool[names[I]] = std::get<I>(r), 0)...};
    (void)each;
}
template <class T, class R, std::size_t N = std::tuple_size<R>::value>
void keep(Pool<T>& pool, const Names& names, const R& r, int) {
    count(" arrays are returned, ", N, names);
    keep_all(pool, names, r, typename UpTo<N>::type());
}
template <class T, class R>
void keep(Pool<T>&, const Names& names, const R&, long) {
    count(" arrays (a vector, or a tuple of vectors) are returned, ", 0, names);
}

template <class R>
struct Kept {
    template <class T, class F, std::size_t... I>
    static void call(F& f, Pool<T>& pool, const Names& given, const Names& back, Indices<I...>) {
        keep(pool, back, f(pool[given[I]]...), 0);
    }
};
template <>
struct Kept<void> {
    template <class T, class F, std::size_t... I>
    static void call(F& f, Pool<T>& pool, const Names& given, const Names& back, Indices<I...>) {
        count(" arrays are returned, ", 0, back);
        f(pool[given[I]]...);
    }
};

template <class T>
void each(Pool<T>&) {}
template <class T, class F, class... More>
void each(Pool<T>& pool, F& f, const std::string& text, More&... more) {
    Names given, back;
    bool after = false;
    for (auto& word : split(text)) {
        if (word == "->") after = true;
        else (after ? back : given).push_back(word);
    }
    count(" parameters, ", Call<F>::size(), given);
    Kept<typename Call<F>::result>::call(f, pool, given, back, typename Call<F>::indices());
    each(pool, more...);
}

// Call functions one after the other, at every probe, with what the text after each names, and
// write what they made: run("FOLDER", forward, "T x W h c=h", backward, "T x W h c dh dW").
template <class T = double, class... Calls>
int run(const std::string& folder, Calls... calls) try {
    for (auto& v : probes<T>(folder)) {
        Pool<T> pool(v);
        each(pool, calls...);
        pool.save();
    }
    return 0;
} catch (const std::exception& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 2;
}

}  // namespace gradcheck
