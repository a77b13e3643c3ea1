/*
 * The names of fault numbers, for error objects and messages.
 */
#include "sup/fault.h"

const char *fault_name(enum fault fault)
{
	switch (fault) {
#define X(name, code)                                                                              \
	case FAULT_##name:                                                                         \
		return #name;
		FAULTS(X)
#undef X
	}
	return "UNKNOWN";
}
