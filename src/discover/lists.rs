//! Small lists of words: frequent names, and words that tell that a text is something else. Our own, from common knowledge; they are kept small,
//! for a path is judged by the share of its values that fit, not by one of them.

use std::collections::HashSet;
use std::sync::LazyLock;

/// A list as a set of lower-case words.
pub(super) type Words = LazyLock<HashSet<&'static str>>;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        pub(super) static $name: Words = LazyLock::new(|| $text.split_whitespace().collect());
    )*};
}

words! {
    /// Given names in Latin letters, mostly English and German.
    GIVEN = "
        aaron adam alan albert alex alexander alexandra alexis alice alicia allison amanda amber amy andrea andrew angela angelica ann anna anne
        annette anthony antje april arthur ashley astrid austin barbara beate ben benjamin bernd bettina beth betty beverly bianca bill birgit
        bob brandi brandon brandy brenda brent brett brian brittany bruce bryan caitlin calvin carl carla carmen carol caroline carolyn carrie
        casey cassandra catherine cathy charlene charles charlotte chelsea cheryl chris christa christian christina christine christopher
        cindy claire claudia colleen connie connor corey cory courtney craig cristian crystal curtis cynthia dagmar dale dana daniel danielle
        david dawn deborah debra denise dennis derek derrick diana diane dieter dirk dominic donald donna doris dorothy douglas dustin dylan
        edward edwin elaine elena elisabeth elizabeth elke ellen emily emma eric erica erik erika erin ernst erwin ethan eugene eva evan evelyn
        felicia felix frank franz fred frieda friedrich gabriel gabriele gail gary george gerald gerd gerhard gina gisela glenn gloria grace
        greg gregory guenther günter hannah hannelore hans harald harold harry heather hedwig heidi heike heinrich heinz helen helga helmut
        henry herbert hermann hildegard holger holly horst ian ilse inge ingeborg ingo ingrid irene irma isabel isabella jack jackie jaclyn
        jacob jacqueline jaime jake james jamie jan jana jane janet janice jared jasmin jasmine jason jay jean jeff jeffery jeffrey jenna
        jennifer jenny jens jeremiah jeremy jerry jesse jessica jill jim jo joan joann joanna joe joel johannes john johnny jon jonathan
        jordan jorge jörg jose josef joseph joshua joy joyce juan judith judy julia julian julie jürgen justin kai karen karin karl karla
        katharina katherine kathleen kathryn kathy katie katrin kayla keith kelli kelly kelsey ken kenneth kerry kevin kim kimberly klaus
        kristen kristi kristin kristina kristine kristy kurt kyle lance larry laura lauren laurie lawrence leah lee leon leonard leroy leslie
        lina linda lindsay lindsey lisa lori louis lucas luis lukas lydia lynn mackenzie madeline madison manfred marc marcus margaret maria
        mariah marie marilyn mario marion marissa mark markus marlene martha martin marvin mary mathew matthew maurice max megan meghan melanie
        melinda melissa melvin mercedes meredith mia michael michaela michele michelle miguel mike mindy misty mitchell molly monica monika
        monique morgan nancy natalie natasha nathan nathaniel nicholas nichole nicole nina noah norbert norma olaf olga olivia otto pamela
        patricia patrick paul paula peggy peter petra philip phillip phyllis rachael rachel ralf ralph randall randy raymond rebecca regina
        reginald reinhard renate renee rhonda ricardo richard rick ricky rita robert roberta roberto robin robyn rodney roger roland rolf
        ronald ronnie rose ross rosemarie roy rudolf russell ruth ryan sabine sabrina sally samantha samuel sandra sandy sara sarah savannah
        scott sean sebastian seth shane shannon sharon shaun shawn shawna sheila shelby shelia shelley sherri sherry shirley siegfried sierra
        silke silvia simon sophia sophie stacey stacie stacy stanley stefan stefanie stephanie stephen steve steven stuart sue summer susan
        susanne suzanne sven sydney sylvia tabitha tamara tami tammy tanja tanya tara tasha taylor ted teresa terri terry thea theodor theresa
        thomas thorsten tiffany tim timothy tina todd tom tommy toni tony tonya torsten tracey traci tracie tracy travis trevor tricia troy
        tyler tyrone udo ulrich ulrike ursula ute uwe valerie vanessa veronica veronika vicki vickie victor victoria vincent virginia
        volker walter waltraud wanda wayne wendy werner wesley whitney wilhelm william willie wolfgang yolanda yvonne zachary";
    /// Family names in Latin letters, mostly English, Spanish and German.
    FAMILY = "
        adams alexander allen alvarez anderson andrews armstrong arnold bailey baker barnes bauer beck becker bell bennett berger bergmann
        black bond boyd bradley braun brooks brown bryant burke burns burton butler campbell carpenter carroll carter castillo castro chapman
        chavez clark cole coleman collins cook cooper cox craig crawford cruz cunningham davis diaz dietrich dixon duncan dunn edwards elliott
        ellis evans ferguson fernandez fischer fisher flores ford foster fox franke freeman fuchs garcia gardner garza gibson gomez gonzales
        gonzalez gordon graf graham grant gray green greene griffin gross günther guzman haas hahn hall hamilton hansen hanson harper harris
        harrison hart hartmann harvey hawkins hayes heinrich henderson henry hernandez herrmann hicks hill hoffman hoffmann hofmann holmes
        howard huber hudson hughes hunt hunter huang jackson jacobs jäger james jenkins jensen johnson johnston jones jordan jung kaiser keller
        kelley kelly kennedy kim king klein knight koch köhler könig kramer krämer kraus krause krüger kuhn kühn lane lang lange larson lawrence
        lawson lee lehmann lewis li long lopez lorenz ludwig lynch maier marshall martin martinez mason matthews mayer mcdonald medina mendez
        mendoza meyer miller mills mitchell möller montgomery moore morales moreno morgan morris morrison müller munoz murphy murray myers
        nelson neumann nguyen nichols nicholson oliver olson ortiz otto owens palmer parker patel patterson payne perez perkins perry peters
        peterson pfeiffer phillips pierce porter powell price ramirez ramos ray reed reyes reynolds rice richards richardson richter riley rivera
        robertson robinson rodriguez rogers romero rose ross roth ruiz russell ryan salazar sanchez sanders sauer schäfer schmid schmidt
        schmitt schmitz schneider scholz schreiber schröder schubert schultz schulz schulze schumacher schuster schwarz scott seidel shaw
        silva simmons simon simpson sims smith snyder sommer soto spencer stein stephens stevens stewart stone sullivan tanaka taylor thomas
        thompson torres tran tucker turner vargas vasquez vogel vogt wagner walker wallace walter wang ward warren washington watkins watson
        weaver weber webb weiß wells werner west wheeler white williams williamson willis wilson winkler winter wolf wolff wood woods wright
        yamada young ziegler zimmermann";
    /// Vietnamese family names, as written and without marks.
    VIETNAMESE = "
        nguyễn trần lê phạm hoàng huỳnh phan vũ võ đặng bùi đỗ hồ ngô dương lý mai trịnh đinh đoàn lương trương tô lâm tạ vương chu cao phùng
        đào hà tăng thái quách bành nguyen tran pham hoang huynh vu vo dang bui ngo duong trinh dinh doan luong truong";
    /// Arabic given names and what stands before a family name.
    ARABIC = "
        محمد أحمد علي عمر عثمان خالد سعد سعود سعيد سلمان سلطان فهد فيصل فيصل عبدالله عبدالرحمن عبدالعزيز إبراهيم يوسف يعقوب موسى عيسى حسن
        حسين حمد حمزة طلال تركي نايف ناصر ماجد مازن منصور مشعل بندر بدر راشد ريان زياد زيد طارق عادل عامر عبد عدنان عصام عماد فارس فاطمة
        عائشة خديجة مريم زينب نورة نور سارة هند ليلى لمى ريم رنا رانيا رهف دانة دلال جواهر أمل أسماء منى مها هدى هيا وفاء سمية صفية حليمة
        آل بن بنت أبو أم مالك صالح صلاح جمال جابر جعفر كريم كمال وليد ياسر ياسين سامي سامر شادي غسان قاسم مصطفى محمود مراد نبيل نزار هاشم هيثم
        العتيبي القحطاني الغامدي الحربي الشهري الدوسري الزهراني المطيري الشمري العنزي السبيعي البلوي الخالدي الدباغ الشايع العقيل الراشد
        فصيل حنبولي مدني بقشان المهيدب الفدا كانو خوجة السماعيل الحكير أبا";
    /// Japanese family names of two or three characters.
    JAPANESE = "
        佐藤 鈴木 高橋 田中 伊藤 渡辺 渡邊 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 清水 斎藤 斉藤 齋藤 山崎 阿部 池田 橋本 山下 石川 中島 前田
        藤田 後藤 小川 岡田 村上 長谷川 近藤 石井 遠藤 青木 坂本 福田 太田 西村 藤井 岡本 藤原 三浦 中野 中川 原田 松田 竹内 小野 田村 中山 和田 石田 上田 柴田
        宮崎 酒井 工藤 横山 内田 高木 安藤 島田 谷口 大野 高田 丸山 今井 河野 武田 村田 上野 杉山 増田 小島 平野 大塚 千葉 久保 松井 岩崎 桜井 野口 松尾 野村 菊地
        渡部 加賀 吉川 若松 笹田 廣川 桐山 田辺 浜田 喜嶋 江古田 津田 宇野 津山 原 西之園 村山 小泉 青田 大垣";
    /// Titles and what stands behind a name, without dots.
    TITLES = "
        mr mrs ms miss mx dr prof sir madam herr frau fräulein dipl-ing ing univprof univ bsc msc ba ma mba mbaeng beng phd md dds dvm jr sr ii iii iv
        v ông bà cô anh chị bác quý vị em cậu chú señor señora sr sra m mme mlle السيد السيدة الآنسة الدكتور الدكتورة الأستاذ الأستاذة المهندس المهندسة";
    /// Small words between the parts of a name.
    PARTICLES = "von van de der den del della di da do dos du la le zu zum zur bin ibn al el y e ter ten vom";
    /// Words of companies, without dots.
    COMPANIES = "
        inc ltd llc plc corp corporation company co group holding holdings gmbh ag kg kgaa ohg mbh gbr ev eg stiftung sa sarl sas bv nv oy ab
        as aps spa srl lp llp pty pte & partners brothers bros associates industries solutions technologies systems enterprises doanh tnhh mtv
        شركة مؤسسة مجموعة";
    /// Words of places that often stand in the names of towns.
    PLACES = "
        lake port new north south east west northern southern eastern western san santa saint st fort mount mt bad bay beach city town county
        village valley river island park street road avenue thành phố tỉnh huyện quận phường xã thị trấn upper lower great little old le la
        مدينة شارع حي";
    /// Endings of English streets.
    STREETS = "
        st street ave avenue rd road dr drive ln lane blvd boulevard ct court pl place ter terrace way hwy highway pkwy parkway cir circle sq square
        trl trail run ridge mews harbor harbors plains shore neck crest curve estate estates fall falls field fields ford fords forest forge
        fork forks fort freeway garden gardens gateway glen glens green grove groves haven heights hill hills hollow inlet island islands
        isle junction junctions key keys knoll knolls lake lakes land landing light lights loaf locks lodge loop mall manor manors meadow
        meadows mill mills mission motorway mount mountain oval overpass park parks pass passage path pike pine pines plain plaza point
        points port ports prairie radial ramp ranch rapid rapids rest river rivers roads route row rue shoal shoals shores skyway spring
        springs spur spurs squares station stravenue stream summit throughway trace track trafficway tunnel turnpike underpass union unions
        valley valleys via viaduct view views village villages ville vista walk walks wall ways well wells bridge brook brooks burg burgs
        bypass camp canyon cape causeway center centers cliff cliffs club common corner corners course courts cove coves creek crescent
        crossing crossroad dale dam divide drives expressway extension extensions alley branch bend bluff bluffs bottom beach bayou annex
        arcade apt suite";
    /// Genders, written out.
    GENDERS = "
        male female nonbinary non-binary diverse männlich weiblich divers homme femme masculin féminin hombre mujer masculino femenino feminino
        男 女 男性 女性 未知 その他 nam nữ ذكر أنثى 남 여 남성 여성 남자 여자";
}

/// Single-character Chinese family names.
pub(super) const CHINESE: &str = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤辛聂岳房柴符涂舒蒙温康樊阎栾施俞张陳劉黃趙吳孫馬鄭謝許馮鄧葉蘇呂盧鍾譚陸賈韋鄒龍賀顧龔萬錢嚴湯聶";
/// Chinese family names of two characters.
pub(super) const CHINESE_TWO: [&str; 8] = ["欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "尉迟", "公孙"];
/// Korean family names.
pub(super) const KOREAN: &str =
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구민진지엄채원천방공현함변염여추";
/// How the names of Chinese and Japanese places, roads and firms end.
pub(super) const HAN_PLACE_ENDS: &str = "省市县區区州郡町村镇鎮乡鄉街路道都府県縣里社厂店行";
/// Words in the names of Chinese, Japanese and Korean firms.
pub(super) const HAN_COMPANIES: [&str; 9] = ["公司", "会社", "會社", "集团", "集團", "銀行", "银行", "有限", "주식회사"];
/// The 47 prefectures, without their last character where it is 県.
pub(super) const PREFECTURES: [&str; 47] = [
    "北海道",
    "青森",
    "岩手",
    "宮城",
    "秋田",
    "山形",
    "福島",
    "茨城",
    "栃木",
    "群馬",
    "埼玉",
    "千葉",
    "東京都",
    "神奈川",
    "新潟",
    "富山",
    "石川",
    "福井",
    "山梨",
    "長野",
    "岐阜",
    "静岡",
    "愛知",
    "三重",
    "滋賀",
    "京都府",
    "大阪府",
    "兵庫",
    "奈良",
    "和歌山",
    "鳥取",
    "島根",
    "岡山",
    "広島",
    "山口",
    "徳島",
    "香川",
    "愛媛",
    "高知",
    "福岡",
    "佐賀",
    "長崎",
    "熊本",
    "大分",
    "宮崎",
    "鹿児島",
    "沖縄",
];
/// Endings of German streets, lower case.
pub(super) const GERMAN_STREETS: [&str; 13] =
    ["straße", "strasse", "str.", "weg", "gasse", "platz", "allee", "ring", "damm", "ufer", "steig", "pfad", "chaussee"];
/// Words of Vietnamese addresses, lower case.
pub(super) const VIETNAMESE_PLACES: [&str; 17] = [
    "phường",
    "xã",
    "quận",
    "huyện",
    "tỉnh",
    "thành phố",
    "tp.",
    "thị trấn",
    "thị xã",
    "đường",
    "phố",
    "ngõ",
    "hẻm",
    "khóm",
    "khu",
    "thôn",
    "ấp",
];
/// Words of Arabic addresses.
pub(super) const ARABIC_PLACES: [&str; 9] = ["شارع", "حي", "طريق", "ص.ب", "ص ب", "مدينة", "مبنى", "شقة", "الرياض"];
