/*
 * In builds that count what is reached: the counters are there before any constructor of a test, which may be all that a
 * process runs (mps_init()).
 */
void __llvm_profile_initialize(void);

__attribute__((constructor(101))) static void count_early(void)
{
	__llvm_profile_initialize();
}
