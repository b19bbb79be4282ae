"""One tiny picture in every compressed transfer syntax that is read, so that a decoder can be tried where it is used.

The picture is `codecs.cells`: 16 rows of 12 pixels, grey rising to the right and downwards, 12 bits, or 8.
Each frame is what `encode` of tests/dicom_files.py makes of it, as base85.
"""

FRAMES = {  # keyword of the transfer syntax in pydicom.uid → one frame
    "RLELossless": (
        "0ssI2KmY&$lmGw#00000000000000000000000000000000000000000000000000000000000000000`vLm`00H^}{R963`UCz1{R8?000s"
        "O6`UUz0{00C8`Ud?6{s#I7{|NmD`Un6C`w06900{aC{R;mH`U?IF{R;XE01W&K`V9IE{0#sM`VIXK3oKD~o51A?FI0J+!wd8oK4XZj()S!eW"
        "{V5F;RY*Eb(+8A2`*C$gsIN+7(HT#tkL!x3rumAyWj;XPjs2S;|mlyUW2I3@)tZ|hN}zQ0VYdumAc;qDNb_>q{;3RI9-"
        "CL%<&dG3v7|L+W;j>Z<M*-"
        "0}C`+exu0k5;t6drppWbAx3MEwc7tANp6!1#OV$*Sbd_$>=8Cw3yiVW`yfSXkF?qTBMVe{p2O%3GFN<|#_J0lL1v4v)%qVqX^yiC<OwcQc%8"
        "!M3^7)F"
    ),
    "JPEGBaseline8Bit": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40s#R50RaL50RaL60s;a80s;a90|WyD0|NsB0s{mC0|W#F1Ox&D1qB2I1q1"
        "{H1pmMQ3kU!Z01N>E5di<h03QGV0R;g80RaI400000000000RjUA1qKHQ2?`7U!~nGr00IF60|EpC1qB2I0004f0RjU61Q7)iAu&M)6H#FYB"
        "5@QlfsvsIBSNvk6;jdgBr{@if(Z&17Z@2DB_<~*DJnEIHa9pqIzvQ7Mn_0VN>fx-"
        "R##YAT4Q8oW@l(=YIAgTc6WGrdV_?8hKGoWijtF*m6n&7nVO=bq@|{(sHv*5v$VCgx45~w!o$SH#>dFX%F@%+)z;V8+1laa<K*S$=jiF`@$&"
        "QZ_4fDp`TGCb00;pA002J#{4nsZ>^J_e{v`gN^27fCtzP@5e#3w0vHt+XpZ@?LdkX%j{44tn{{XB10Es`R{ILH3>sP+%-"
        ">~2MEPwGQ{{YAy!oUC7"
    ),
    "JPEGExtended12Bit": (
        "|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40s#R50RaL50RaL60s;a80s;a90|WyD0|NsB0s{mC0|W#F1Ox&D1qB2I1q1"
        "{H1pmPR3k(1d01N>E5di<h02TlN0RaF200000000000000B4G#ar03r|o00RdF0000000000000003@HQ#2?{7jWH(Y&V{-"
        "r600;pA002J#hL<Yo94$CVE+vieiXS>2Byg!|#7HgnH>IBxYK)~_BZa341;nwwF+=A=#Eum$IEe+m#`Lq|kN?>K"
    ),
    "JPEGLossless": (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-"
        "S3;_WV0RO}Q7XSeP0RaF20000000000000LF1`Ge%00;pA00sa6;#Z~8>2$hXE|*KC(&=o5Mn*<PMn*<PMn+2^k&%&+k&%&+k&%+fWMpJyWM"
        "pJyWMpKr85tQF85tQF85tQYhDJt4Mn*<PMn*<UA(4@hk&%&+k&%&-"
        "$Yf+>WMpJyWMpJyvKbi}85tQF85tQFEQUr#Mn*<PMn*<POCgbwk&%&+k&%&+lE`FaWMpJyWMpJyWU?6<85tQF85tQF87ziIMn*<PMn*<PMoS"
        "@)k&%&+k&%&+k&?({WMpJyWMpJyWMu!@"
    ),
    "JPEGLosslessSV1": (
        "|JeWF01!$>Nk#wx0RR9200961|HA+a3;+-"
        "S3;_WV0RO}Q761VO0RR910000000000000IE3;)^x2mt{A0RRBRttwQhQl(0jDpa;YRH;&>N|h>9sceL)Ql(0jDpaXb*$GmmN|h>9sZyn~5~"
        "WI&DpaXbrAuTbN|h>9sZym%mdHw#DpaXbrAn18kd-P_sZym%l`2~yDpaXbrAn15RJKA?sZym%l`2%JY=o&&rAn15RH;(g2~wp>l`2%JQl+vI"
        "rAn15RH;&>OJpTVl`2%JQl(0k$V!zeRH;&>N|h~;l`2%JQl(0jDqsKE"
    ),
    "JPEGLSLossless": (
        "|JeWN03cIPNk&Eh0ssI30000G0000C3J?YX0003j0003j|L6b+00001|JeWc01FTR5C9AT0TBTI_y7$7|Nj6I07C&306_oR00;pA00000Wq6"
        "Yj<XH}bKc3F#GkaSh5~4(nB2cIk>E!Bh60C)_rIm$sWmQErBuKH;R1?$FmaSN^Vn*XDR;f~@N>r&*kvOUpC{Up~bm`NmTtw-UCQO+!WXY5c8"
        "mg+Qs;a7rC)_0zQAHF{G}BKwDW;lfrkZJ{op2LPG?Gaql%(T+r722Ml%*}V$x2d`r723&dX%LpN>Y@pw~0zsRaI4ByH!*~L_}8r|Je"
    ),
    "JPEGLSNearLossless": (
        "|JeWN03cIPNk&Eh0ssI30000G0000C3J?YX0003j0003j|L6b+00001|JeWc01FTR5C9AT0TBTI_y7$7|Nj6O08IfR06_oR00;pA00IC2UE#"
        "6uvgXU1T{Y8Che$_EoicTmSq`XGWmHu~R85HO3tHB-tx8%uI@F~pN=lTSp(;{TmQ`fT>dLCDs;Sx4RaI40QxmExs-"
        "mhaOsa~Frj{p7q|-@aWYbBel_pIj(n(@urBtetl~SsyGNn~i0RPzl"
    ),
    "JPEG2000Lossless": (
        "|4;u>04V?f0000C0000G00000000000000C0000G0000000000009dD0sm3}3;+NC0RR951ONg5TmS?>VE<$QB>(|Ka%Ew3Wn>^?c_2@4Wo}"
        "APMMofZWpZ<AZ*CwmE;TMR|BwI*000000S*8G|C7(={Si<~)+Fj-v#f|$$~Wu@hwg4z*c`9f8rSpHdCrS-"
        "kB^3nW)<5^X1CWgWs8H3dDxa7#+U}&cO+I~B(8?rk&?sM(lzKj?-C?zxV@IMiVNLM?-h|uY*Hjh(VeM<s3-KAh4UnPc-*gp-doZoFPS0hq1>"
        "r1X{w1k_&caS$D}c$e780Z^oH%^>-"
        "hAB39GQ2djr@ZT2h{qtz|gt%q=5St5PzpBP|dv@Fv%Di=bE&YeYf1PC`&>VY>OmcyCrV+LkVtR?_O)U0X}5X?1U@AzaCQZ7!{))wH^{l^@$-"
        "u-I%i8x4lTVX)Y2HHNvqZ=2@%zHgi6|9}74"
    ),
    "JPEG2000": (
        "|4;u>04V?f0000C0000G00000000000000C0000G0000000000009dD0sm3}4FLiG0RR951ONbt|6BkCLSO*@WB?@q0Yh?SVRU6=AYyqSPjF"
        ">!N>D{dAa-SPb7^mGATlmBE;Rp;015yA0001@00IA#&$^KjP)gP$>S432h*!!t><NeNZdlkHuh|;c^VNCIi*t{UhKptu+e~J+*ED5|gN}LFm"
        "LA5K2HbZfR$?TshTD;n!`RX_=sfQdBy707ma~cr-A(TmkxXn-"
        "BuLSnsfDN~^qPh9Bzt(=uY=xO(j_mMA?u;ssV-@%i97f^s6WS~F`|68HV*WL?d0qD^o9wm|Je"
    ),
    "HTJ2KLossless": (
        "|4;u>04YEK0000C0000G00000000000000C0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdT"
        "mwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000eE<RflfVEbPxS={bN~Rr024p}699Pr0ta*eM*af_bO68r6F>kHfOGx;%X9!B2"
        "l)V_Q~<yL6)*q=P^2Uh>6hUPbpV137W}{=0F1T(zyK?t02SZ}f*=TjAl?dkdT@ex0FE6U9UUF~02uZ$f$X^e|Je"
    ),
    "HTJ2KLosslessRPCL": (
        "|4;u>04YEK0000C0000G00000000000000C0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdT"
        "mwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000eE<RflfVEbPxS={bN~Rr024p}699Pr0ta*eM*af_bO68r6F>kHfOGx;%X9!B2"
        "l)V_Q~<yL6)*q=P^2Uh>6hUPbpV137W}{=0F1T(zyK?t02SZ}f*=TjAl?dkdT@ex0FE6U9UUF~02uZ$f$X^e|Je"
    ),
    "HTJ2K": (
        "|4;u>04YEK0000C0000G00000000000000C0000G0000000000009pH0sl|{2mk^A001TbQUDA90ssL31q1{@0RLP7BO;G<k429~j~9nrhg^"
        "p}f2x0~f5K=rXf<efU>aZ=Z@>R!02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000WdH&HlfVEbIsF9(bN~Rr080P?Fzx_{bO6-"
        ";0ta*ezyOW_1wb2f00ZHG@BoIi0Kfuh09OE3fM2V10M?@(>Y@HX008~k_Ba5b0=PghFbD?0dQ&8(>5S+A|Je"
    ),
}
