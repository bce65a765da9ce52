# find_package(gradproof) gives the target gradproof::gradproof: the headers, the compiled core, and the flags that it was
# compiled with. It needs an Eigen 3.4 of the program's own.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(Eigen3)
include("${CMAKE_CURRENT_LIST_DIR}/gradproof-targets.cmake")
