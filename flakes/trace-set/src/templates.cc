#include <array>
#include <cstdio>
#include <numeric>
#include <typeinfo>

template <int N> struct Fibonacci {
	static constexpr long value = Fibonacci<N - 1>::value + Fibonacci<N - 2>::value;
};
template <> struct Fibonacci<0> { static constexpr long value = 0; };
template <> struct Fibonacci<1> { static constexpr long value = 1; };

int main()
{
	std::array numbers{1, 2, 3};
	std::printf("%ld %d %s\n", Fibonacci<60>::value, std::accumulate(numbers.begin(), numbers.end(), 0),
		typeid(Fibonacci<3>).name());
}
