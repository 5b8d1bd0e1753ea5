// The one place that includes Catch2: version 2.13 (Debian 12) and version 3 (newer systems) both work.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
