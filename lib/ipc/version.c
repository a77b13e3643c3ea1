/*
 * Which libmpsup it is.
 */
#include "mpsup.h"

const char *mps_version(void)
{
	return MPSUP_VERSION;
}
