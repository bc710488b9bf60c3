// Test vectors of gradcheck-rnn. A kernel is called with what its parameters are named after:
// gradcheck::run("FOLDER", kernel, "T B x W dh dW"), dh for the cotangent of output h, dW for the
// gradient of W, h for the output; what it returns in a tuple is named in a second text.
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

// What a word names; a size, or an array that turns into a vector or a pointer, labels into ints.
template <class T>
struct Argument {
    enum Kind { Size, Labels, Input, Cotangent, Output, Gradient };
    const Probe<T>& probe;
    std::string name;
    Kind kind;
    std::vector<T> held;
    std::vector<int> classes;

    Argument(const Probe<T>& v, const std::string& n) : probe(v), name(n), kind(Size) {
        std::map<std::string, std::vector<std::size_t>> known = shapes(v.folder);
        std::vector<std::string> outputs = words(v.folder + "/outputs.txt");
        std::vector<std::pair<std::string, Kind>> all;
        for (auto& s : v.sizes) all.push_back({s.first, Size});
        for (auto& a : words(v.folder + "/arrays.txt")) {
            all.push_back({a, Input});
            all.push_back({"d" + a, Gradient});
        }
        for (auto& y : outputs) {
            all.push_back({y, Output});
            all.push_back({"d" + y, Cotangent});
        }
        for (auto& y : words(v.folder + "/labels.txt")) all.push_back({"labels." + y, Labels});
        std::string names;
        int found = 0;
        for (auto& a : all) {
            names += " " + a.first;
            if (a.first == n) kind = a.second, found++;
        }
        if (found == 0) throw std::out_of_range("nothing is called " + n + "; there are" + names);
        if (found > 1) throw std::out_of_range("two are called " + n + "; use gradcheck::probes");
        if (kind == Labels)
            for (auto c : v.labels(n.substr(7))) classes.push_back(static_cast<int>(c));
        if (kind == Input) held = v.array(n);
        if (kind == Cotangent) held = v.cotangent(n.substr(1));
        if (kind == Output || kind == Gradient) {
            std::size_t size = 1;
            for (auto axis : known[kind == Output ? n : n.substr(1)]) size *= axis;
            held.resize(size);
        }
    }
    operator std::vector<T>&() { return is(kind != Size && kind != Labels, "array"), held; }
    operator T*() { return static_cast<std::vector<T>&>(*this).data(); }
    operator std::vector<int>&() { return is(kind == Labels, "array of labels"), classes; }
    operator int*() { return static_cast<std::vector<int>&>(*this).data(); }
    template <class N, class = typename std::enable_if<std::is_arithmetic<N>::value>::type>
    operator N() {
        is(kind == Size || held.size() == 1, "number");
        return kind == Size ? static_cast<N>(probe.size(name)) : static_cast<N>(held[0]);
    }
    void returned(const std::vector<T>& a) {
        is(kind == Output || kind == Gradient, "output or gradient");
        held = a;
        save();
    }
    void save() const {
        if (kind == Output) probe.output(name, held);
        if (kind == Gradient) probe.gradient(name.substr(1), held);
    }

  private:
    void is(bool true_, const char* what) const {
        if (!true_) throw std::invalid_argument(name + " is no " + what);
    }
    static std::map<std::string, std::vector<std::size_t>> shapes(const std::string& folder) {
        std::map<std::string, std::vector<std::size_t>> found;
        std::ifstream file(folder + "/shapes.txt");
        std::string line, name;
        while (std::getline(file, line)) {
            std::istringstream parts(line);
            parts >> name;
            for (std::size_t axis; parts >> axis;) found[name].push_back(axis);
        }
        return found;
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

template <class T>
void keep(const Probe<T>& v, const std::vector<std::string>& names, const std::vector<T>& a) {
    if (names.size() != 1) throw std::invalid_argument("one array is returned; give its name");
    Argument<T>(v, names[0]).returned(a);
}
template <class T, class R, std::size_t... I>
void keep(const Probe<T>& v, const std::vector<std::string>& names, const R& r, Indices<I...>) {
    if (names.size() != sizeof...(I))
        throw std::invalid_argument(std::to_string(sizeof...(I)) + " arrays are returned and " +
                                    std::to_string(names.size()) + " named");
    int each[] = {0, (Argument<T>(v, names[I]).returned(std::get<I>(r)), 0)...};
    (void)each;
}
template <class T, class R>
typename std::enable_if<(std::tuple_size<R>::value > 0)>::type keep(
    const Probe<T>& v, const std::vector<std::string>& names, const R& r) {
    keep(v, names, r, typename UpTo<std::tuple_size<R>::value>::type());
}

template <class R>
struct Kept {
    template <class T, class F, std::size_t... I>
    static void call(F& f, std::vector<Argument<T>>& a, const std::vector<std::string>& names,
                     Indices<I...>) {
        keep(a.at(0).probe, names, f(a[I]...));
    }
};
template <>
struct Kept<void> {
    template <class T, class F, std::size_t... I>
    static void call(F& f, std::vector<Argument<T>>& a, const std::vector<std::string>& names,
                     Indices<I...>) {
        if (!names.empty()) throw std::invalid_argument("nothing is returned that has a name");
        f(a[I]...);
    }
};

// Call f for every probe with the arguments of these names, and write what it made of them.
template <class T = double, class F>
int run(const std::string& folder, F f, const std::string& arguments,
        const std::string& results = "") try {
    std::vector<std::string> given = split(arguments), names = split(results);
    if (given.size() != Call<F>::size())
        throw std::invalid_argument("the kernel has " + std::to_string(Call<F>::size()) +
                                    " parameters, " + std::to_string(given.size()) + " are named");
    for (auto& v : probes<T>(folder)) {
        std::vector<Argument<T>> a;
        for (auto& name : given) a.push_back(Argument<T>(v, name));
        Kept<typename Call<F>::result>::call(f, a, names, typename Call<F>::indices());
        for (auto& one : a) one.save();
    }
    return 0;
} catch (const std::exception& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 2;
}

}  // namespace gradcheck
