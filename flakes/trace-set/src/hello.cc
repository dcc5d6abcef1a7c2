#include <algorithm>
#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <thread>
#include <vector>

int main()
{
	std::map<std::string, int> counts;
	std::vector<std::thread> threads;
	std::vector<int> results(4);

	for (int i = 0; i < 4; i++)
		threads.emplace_back([i, &results] { results[i] = i * i; });
	for (auto &thread : threads)
		thread.join();
	for (int result : results)
		counts[std::to_string(result)]++;
	for (const auto &[name, count] : counts)
		std::cout << name << ' ' << count << ' ' << std::regex_match(name, std::regex("[0-9]+")) << '\n';
}
