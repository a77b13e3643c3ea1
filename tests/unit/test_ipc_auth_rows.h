/* hmac.new(b'secret', message, digest).digest() of Python, with message = prefix + bytes(range(n)). */
{ "{sha256}", 40, false, "fc57fbe650d6124b98215e7b5d197d5807ad69982d275a9735ea2d56f1fa6989" },
	{ "{sha384}", 40, false,
	  "bae78a3376369f7b803a8473318a9b7062495b47434159ac84fc92ddb33c51b277c44c3edd9a5f9cb7d628f2"
	  "1abe2665" },
	{ "{sha3_256}", 40, false,
	  "82e8fa62f363295b6655abecf0e98e510224c559e9745af9741c357aec358f90" },
	{ "{sha3_384}", 40, false,
	  "bfbe71d4e622f58ebf6cbe049af4c8fe518645b482915af0940d678c37c0b46dd1a2a448f9ee5141c91bba42"
	  "b46a7862" },
	{ "{md5}", 40, true, "e8928e8cca3ace2d777017168dc6a0b2" },
	{ "", 20, true, "7defa9cc46abc3583325d17ccda75190" },
